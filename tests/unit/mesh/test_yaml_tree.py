"""YAML with places: hostile texts cost what honest ones do, and every fault has its place."""

from __future__ import annotations

import pytest

from atoll.resources.mesh.documents import yaml_tree
from atoll.resources.mesh.documents.yaml_tree import DEPTH_MAX, NODES_MAX, Place, YamlFault


def value(text: str) -> object:
    (tree,) = yaml_tree.read(text)
    return tree.value


def fault(text: str) -> YamlFault:
    with pytest.raises(YamlFault) as caught:
        list(yaml_tree.read(text))
    return caught.value


def test_scalars_mean_what_they_mean_to_kubectl() -> None:
    text = "[~, yes, 'yes', 1, 0x1f, 010, 1.5, 1e3, 1:30, 2026-01-01, '', null, \"1\", .inf, 1_000, !!str 5]"
    assert value(text) == [
        None,
        True,
        "yes",
        1,
        31,
        8,
        1.5,
        1000.0,
        "1:30",
        "2026-01-01",
        "",
        None,
        "1",
        ".inf",
        1000,
        "5",
    ]


def test_places_are_those_of_names_and_values() -> None:
    (tree,) = yaml_tree.read("a:\n  b: [1,\n    {c: 2}]\n")
    assert tree.place(("a", "b", 1, "c")) == Place(3, 9)
    assert tree.name_place(("a", "b", 1, "c")) == Place(3, 6)
    assert tree.place(("a", "b")) == Place(2, 3)
    assert tree.place(("a", "b", 1, "missing")) == Place(3, 5)
    assert tree.place(("missing",)) == tree.root == Place(1, 1)


def test_what_is_merged_in_is_overridden_by_what_is_there_and_has_its_own_place() -> None:
    (tree,) = yaml_tree.read("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {<<: [*x, {c: 4}]}\n")
    assert tree.value["y"] == {"a": 1, "b": 3}
    assert tree.value["z"] == {"a": 1, "b": 2, "c": 4}
    assert tree.place(("y", "a")) == Place(1, 11)


FAULTS = {
    "a text that ends too early": ("a: [", Place(2, 1), "no YAML"),
    "tabs": ("a:\n\t- b", Place(2, 1), "no YAML"),
    "a control character": ("a: \x07", Place(1, 4), "a character that YAML does not allow"),
    "half a character": ("a: '\ud83d'", Place(1, 5), "a character that YAML does not allow"),
    "a name twice": ("a: 1\nb: 2\na: 3", Place(3, 1), "'a' stands twice, first in line 1"),
    "an alias without its anchor": ("a: *b", Place(1, 4), "there is no anchor &b before this"),
    "an anchor of the document before": ("a: &b 1\n---\na: *b", Place(3, 4), "there is no anchor &b"),
    "a list within itself": ("a: &x [*x]", Place(1, 4), "an alias within what it stands for"),
    "a mapping merged into itself": ("a: &x {<<: *x}", Place(1, 4), "<< takes a mapping"),
    "a tag that would make an object": ("!!python/object:os.system {}", Place(1, 1), "is not taken"),
    "a name that is no text": ("? [a]\n: b", Place(1, 3), "the name of a field must be text"),
    "a tag that lies": ("a: !!int x", Place(1, 4), "'x' is no int"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faults_have_their_place(case: str) -> None:
    text, place, message = FAULTS[case]
    found = fault(text)
    assert message in found.message
    assert found.place == place


def test_nesting_is_bounded() -> None:
    assert value("[" * DEPTH_MAX + "]" * DEPTH_MAX) is not None
    found = fault("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))
    assert found.place == Place(1, DEPTH_MAX + 1)


def test_aliases_expand_within_a_bound() -> None:
    """Ten of ten of ten ...: a text of a kilobyte that would be a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert f"more than {NODES_MAX} values" in fault("\n".join(lines)).message


def test_deep_aliases_are_bounded_as_nesting_is() -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, DEPTH_MAX + 2)]
    assert "within what it stands for" in fault("\n".join(lines)).message

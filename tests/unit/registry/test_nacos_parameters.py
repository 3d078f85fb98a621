"""What Nacos takes for a name, an address, a number: each rule on both sides of its edge."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from atoll.errors import AtollError, Reason
from atoll.wire.nacos import parameters

GOOD: Mapping[str, Callable[[], object]] = {
    "a namespace of 64": lambda: parameters.namespace("n" * 64),
    "a data id with everything": lambda: parameters.data_id("a-Z_0:9.yaml"),
    "a service with signs": lambda: parameters.service("com.x:y/z$1"),
    "a group of 128": lambda: parameters.group("g" * 128),
    "a name of a host": lambda: parameters.ip("db-1.internal"),
    "the highest port": lambda: parameters.port(65_535),
    "no weight at all": lambda: parameters.weight(0.0),
    "metadata of 1024": lambda: parameters.metadata({"k": "v" * 1023}),
}
BAD: Mapping[str, tuple[Callable[[], object], str]] = {
    "a namespace of 65": (lambda: parameters.namespace("n" * 65), "length should not exceed 64."),
    "a namespace with a dot": (lambda: parameters.namespace("a.b"), "illegal characters"),
    "a namespace in Cyrillic": (lambda: parameters.namespace("имя"), "illegal characters"),
    "a data id of 257": (lambda: parameters.data_id("d" * 257), "length should not exceed 256."),
    "a data id with a slash": (lambda: parameters.data_id("a/b"), "illegal characters"),
    "a data id with a new line": (lambda: parameters.data_id("a\n"), "illegal characters"),
    "no data id": (lambda: parameters.data_id(""), "'dataId' is required"),
    "a service in Chinese": (lambda: parameters.service("服务"), "illegal characters"),
    "a service with a space": (lambda: parameters.service("a b"), "illegal characters"),
    "a service with a NUL": (lambda: parameters.service("a\0b"), "illegal characters"),
    "a service of a NUL": (lambda: parameters.service("\0"), "illegal characters"),
    "a service with three parts": (lambda: parameters.service("g@@a@@b"), "illegal characters"),
    "a group without a service": (lambda: parameters.service("g@@"), "illegal characters"),
    "a group with a plus": (lambda: parameters.group("a+b"), "illegal characters"),
    "a cluster with a comma": (lambda: parameters.cluster("a,b"), "illegal characters"),
    "an address with a NUL": (lambda: parameters.ip("1.1.1.1\0"), "illegal characters"),
    "an address with a space": (lambda: parameters.ip("1.1.1.1 "), "illegal characters"),
    "a port too high": (lambda: parameters.port(65_536), "between 0 and 65535"),
    "a port below": (lambda: parameters.port(-1), "between 0 and 65535"),
    "too heavy": (lambda: parameters.weight(10_000.1), "range from 0.0"),
    "no number": (lambda: parameters.weight(float("nan")), "range from 0.0"),
    "metadata of 1025": (lambda: parameters.metadata({"k": "v" * 1024}), "exceed 1024."),
    "a word for a number": (lambda: parameters.integer("port", "eighty"), "not a number"),
    "digits of another script": (lambda: parameters.integer("port", "８０"), "not a number"),
    "metadata without equals": (lambda: parameters.metadata_text("a"), "metadata format incorrect"),
    "metadata that is a list": (lambda: parameters.metadata_text("{]"), "metadata format incorrect"),
    "a page below": (lambda: parameters.page("-1", "", 10, 500), "at least 1"),
    "a page of nothing": (lambda: parameters.page("1", "0", 10, 500), "at least 1"),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_keeps_the_rules_is_taken(name: str) -> None:
    GOOD[name]()


@pytest.mark.parametrize("name", BAD)
def test_what_breaks_a_rule_is_refused_with_the_references_text(name: str) -> None:
    call, text = BAD[name]
    with pytest.raises(AtollError, match=text) as caught:
        call()
    assert caught.value.reason in (Reason.PARAMETER_INVALID, Reason.PARAMETER_MISSING)
    assert caught.value.facts["parameter"]


@pytest.mark.parametrize("spelling", ["", None, "null", "public"])
def test_the_default_namespace_has_four_spellings(spelling: str | None) -> None:
    assert parameters.namespace(spelling) == "public"


def test_a_service_name_may_bring_its_group() -> None:
    assert parameters.service("g@@s", "other") == ("g", "s")
    assert parameters.service("@@s", "other") == ("other", "s")
    assert parameters.service("s") == ("DEFAULT_GROUP", "s")


@pytest.mark.parametrize("text, value", [("Y", True), ("On", True), ("t", True), ("1", False), ("no", False)])
def test_truth_has_five_spellings(text: str, value: bool) -> None:
    assert parameters.boolean(text) is value


def test_metadata_comes_as_json_or_as_pairs() -> None:
    assert parameters.metadata_text('{"a": "b", "n": 1}') == {"a": "b", "n": "1"}
    assert parameters.metadata_text("a=b, c = d=e") == {"a": "b", "c": "d=e"}
    assert parameters.metadata_text(" ") == {}


def test_page_nought_is_the_first_and_sizes_are_bounded() -> None:
    assert parameters.page("0", "9999", 10, 500) == (1, 500)
    assert parameters.page("", "", 10, 500) == (1, 10)

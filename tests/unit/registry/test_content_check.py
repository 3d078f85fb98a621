"""Malformed contents: each type, the place of the fault, and contents made to be expensive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, Reason
from atoll.planes.registry.policy import content_check
from atoll.resources.config_views import Details
from tests.unit.registry.config_kit import ANN, KEY, Kit, with_configs

SCHEMA = '{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"integer"}}}}}'
MALFORMED = {
    "json comma": ("json", '{"a":1,}', (1, 8)),
    "json twice": ("json", '{"a":1,\n "b":{"a":2},\n "a":3}', (3, 2)),
    "json NaN": ("json", '{"x": "NaN", "a": NaN}', (1, 19)),
    "json deep": ("json", "[" * 100_000, (0, 0)),
    "yaml bracket": ("yaml", "a: 1\nb: [1,2\nc: 3", (3, 2)),
    "yaml twice": ("yaml", "a: 1\nb:\n  x: 1\n  x: 2", (4, 3)),
    "yaml tab": ("yaml", "a:\n\tb: 1", (2, 1)),
    "yaml alias": ("yaml", "a: *x", (1, 4)),
    "yaml deep": ("yaml", "[" * 500, (1, 201)),
    "yaml control": ("yaml", "a: \x00", (1, 4)),
    "toml": ("toml", "a = 1\nb = = 2", (2, 5)),
    "toml end": ("toml", "a = '", (1, 6)),
    "xml": ("xml", "<a>\n<b></a>", (2, 6)),
    "properties": ("properties", "a=1\nb=\\u12", (2, 3)),
}
FINE = {
    "json": ("json", '{"a": [1, 2.5, null, true, "x"]}'),
    "json same name inside": ("json", '{"a": {"a": 1}}'),
    "yaml documents": ("yaml", "a: 1\n---\na: 2\n"),
    "yaml merge": ("yaml", "d: &d {x: 1}\na:\n  <<: *d\nb:\n  <<: *d\n"),
    "yaml own tag": ("yaml", "a: !Ref x"),
    "properties": ("properties", "# c\na = c:\\\\users\n= odd\nb: \\u00e9"),
    "text": ("text", "{"),
    "html": ("html", "<p"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_the_place_of_a_fault_is_told(name: str) -> None:
    kind, text, place = MALFORMED[name]
    (fault,) = content_check.faults(kind, text)
    assert (fault.line, fault.column) == place
    assert fault.message


@pytest.mark.parametrize("name", FINE)
def test_what_a_type_allows_is_no_fault(name: str) -> None:
    assert content_check.faults(*FINE[name]) == ()


@pytest.mark.parametrize(
    ("kind", "text", "place"), [("yaml", "a:\n  b: x\n", (2, 6)), ("json", '{"a":{\n"b":"x"}}', (2, 5))]
)
def test_a_schema_tells_path_and_place(kind: str, text: str, place: tuple[int, int]) -> None:
    (fault,) = content_check.faults(kind, text, SCHEMA)
    assert (fault.path, fault.line, fault.column) == ("/a/b", *place)
    assert content_check.faults(kind, text.replace("x", "1").replace('"1"', "1"), SCHEMA) == ()


def test_aliases_are_never_expanded() -> None:
    levels = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb = "\n".join(["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *levels])
    assert content_check.faults("yaml", bomb) == ()
    (fault,) = content_check.faults("yaml", bomb, SCHEMA)
    assert "too large" in fault.message


def test_a_schema_reaches_nothing_outside_itself() -> None:
    with pytest.raises(AtollError) as refused:
        content_check.require_schema('{"$ref": "file:///etc/hostname"}')
    assert "another document" in refused.value.message
    with pytest.raises(AtollError):
        content_check.require_schema('{"type": "objec"}')
    content_check.require_schema("a note of an old client")


@given(st.sampled_from(["json", "yaml", "toml", "xml", "properties"]), st.text(max_size=80))
def test_any_text_is_judged_and_a_fault_lies_inside_it(kind: str, text: str) -> None:
    for fault in content_check.faults(kind, text, SCHEMA):
        assert 0 <= fault.line <= text.count("\n") + 2 + text.count("\r") + text.count("\x85")


def test_a_malformed_publish_is_refused_unless_forced() -> None:
    async def scenario(kit: Kit) -> None:
        with pytest.raises(AtollError) as refused:
            await kit.configs.publish(ANN, KEY, "a: [1\nb: 2", Details(type="yaml"))
        assert refused.value.reason is Reason.CONTENT_INVALID
        assert (refused.value.facts["line"], refused.value.facts["column"]) == (2, 2)
        assert kit.configs.item(KEY) is None
        await kit.configs.publish(ANN, KEY, "a: [1\nb: 2", Details(type="yaml", force=True))
        await kit.configs.publish(ANN, KEY, "a: {b: 1}", Details(schema=SCHEMA))
        with pytest.raises(AtollError) as second:
            await kit.configs.publish(ANN, KEY, "a: {b: x}")
        assert second.value.facts["path"] == "/a/b"
        with pytest.raises(AtollError):
            await kit.configs.publish(ANN, KEY, "a: 1\n" * 20_000)
        await kit.configs.publish(ANN, KEY, "a: {b: x}", Details(schema=""))

    with_configs(scenario)


def test_an_encrypted_item_is_never_looked_into_and_not_overwritten_in_plain_text() -> None:
    key = type(KEY)("public", "g", "cipher-aes-app.yaml")

    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, key, "{[", Details(type="yaml", encrypted_data_key="k"))
        with pytest.raises(AtollError) as plain:
            await kit.configs.publish(ANN, key, "a: 1")
        assert "encrypted" in plain.value.message
        await kit.configs.publish(ANN, key, "[[", Details(encrypted_data_key="k2"))
        await kit.configs.publish(ANN, key, "a: 1", Details(force=True))
        served = kit.configs.query(key)
        assert served is not None and served.encrypted_data_key == ""

    with_configs(scenario)

"""Archives, copies between namespaces, and rows of a Nacos database."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, Code, Reason
from atoll.planes.registry.policy import nacos_database
from atoll.planes.registry.service.config_transfer import copy_of
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Details, Search
from atoll.wire.nacos import config_zip
from atoll.wire.nacos.config_zip import ZipItem
from tests.unit.registry.config_kit import ANN, KEY, Kit, with_configs

ITEMS = (
    ZipItem("DEFAULT_GROUP", "a.yaml", "a: 1\n", "app", "yaml", "what it is"),
    ZipItem("g2", "b.properties", "x=\N{SNOWMAN}", "", "properties", ""),
)
NAMES = st.text("abcXYZ0-9_.:", min_size=1, max_size=20)


def archive(entries: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        for name, text in entries.items():
            written.writestr(name, text)
    return out.getvalue()


def no_one_is_refused(key: ConfigKey) -> None:
    assert key.group


@given(
    st.lists(
        st.builds(
            ZipItem, NAMES, NAMES, st.text(max_size=30), NAMES, st.just("text"), st.text("a b", max_size=5)
        )
    )
)
def test_what_is_packed_is_unpacked(items: list[ZipItem]) -> None:
    once = {(each.group, each.data_id): each for each in items}
    if once:
        found = config_zip.unpack(config_zip.pack(list(once.values())))
        assert found.items == tuple(once.values()) and not found.unrecognized


def test_version_1_keeps_app_names_and_guesses_types() -> None:
    packed = config_zip.pack(ITEMS, version=1)
    with zipfile.ZipFile(io.BytesIO(packed)) as read:
        assert read.read(".meta.yml") == b"DEFAULT_GROUP.a~yaml.app=app\n"
    found = config_zip.unpack(packed).items
    assert [(each.app_name, each.type, each.content) for each in found] == [
        ("app", "yaml", "a: 1\n"),
        ("", "properties", "x=\N{SNOWMAN}"),
    ]


METADATA = "metadata:\n- {appName: '', dataId: a, desc: null, group: g, type: yaml}\n"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"no zip", "parse"),
        (archive({}), "empty"),
        (archive({".metadata.yml": METADATA}), "metadata"),
        (archive({".metadata.yml": "metadata: [1]", "g/a": "x"}), "metadata"),
        (archive({".metadata.yml": "[", "g/a": "x"}), "metadata"),
        (archive({"g/a": "x" * (config_zip.ENTRY_BYTES_MAX + 1)}), "too_large"),
    ],
)  # fmt: skip
def test_a_bad_archive_is_refused_with_the_problem(data: bytes, problem: str) -> None:
    with pytest.raises(AtollError) as refused:
        config_zip.unpack(data)
    assert (refused.value.reason, refused.value.facts["problem"]) == (Reason.IMPORT_INVALID, problem)


def test_names_that_are_no_item_are_told() -> None:
    found = config_zip.unpack(archive({".metadata.yml": METADATA, "g/a": "x", "g/b": "y", "deep/er/c": "z"}))
    assert [each.data_id for each in found.items] == ["a"]
    assert set(found.unrecognized) == {"g/b", "deep/er/c"}


@pytest.mark.parametrize(
    ("policy", "published", "skipped", "failed", "content"),
    [
        ("abort", 0, 1, 1, "old"),
        ("skip", 1, 1, 0, "old"),
        ("overwrite", 2, 0, 0, "a: 1\n"),
    ],
)
def test_the_policies(policy: str, published: int, skipped: int, failed: int, content: str) -> None:
    async def scenario(kit: Kit) -> None:
        key = ConfigKey("blue", "DEFAULT_GROUP", "a.yaml")
        await kit.configs.publish(ANN, key, "old")
        done = await kit.configs.transfer.take_zip(
            ANN, "blue", config_zip.pack(ITEMS), policy, no_one_is_refused
        )
        assert (len(done.published), len(done.skipped), len(done.failed)) == (published, skipped, failed)
        served = kit.configs.query(key)
        assert served is not None and served.content == content
        with pytest.raises(AtollError):
            await kit.configs.transfer.take(ANN, [], "whatever")

    with_configs(scenario)


def test_nothing_is_taken_of_an_archive_with_an_item_that_the_caller_may_not_write() -> None:
    def may(key: ConfigKey) -> None:
        if key.group == "g2":
            raise AtollError(Code.DENIED, "not g2")

    async def scenario(kit: Kit) -> None:
        with pytest.raises(AtollError):
            await kit.configs.transfer.take_zip(ANN, "blue", config_zip.pack(ITEMS), "skip", may)
        assert kit.configs.view.total() == 0

    with_configs(scenario)


def test_what_is_malformed_is_taken_and_told() -> None:
    async def scenario(kit: Kit) -> None:
        packed = config_zip.pack([ZipItem("g", "a", "[", type="json")])
        done = await kit.configs.transfer.take_zip(ANN, "", packed, "skip", no_one_is_refused)
        assert len(done.published) == 1 and "not valid json" in done.problems[0]

    with_configs(scenario)


def test_a_copy_is_the_same_under_another_name() -> None:
    async def scenario(kit: Kit) -> None:
        await kit.configs.publish(ANN, KEY, "a: 1", Details(type="yaml", tags=("x",), desc="d"))
        items = kit.configs.search(Search()).items
        done = await kit.configs.transfer.clone(
            ANN, [copy_of(each, "blue", "", "c") for each in items], "abort"
        )
        copy = kit.configs.item(ConfigKey("blue", "DEFAULT_GROUP", "c"))
        assert done.published and copy is not None
        assert (copy.content, copy.type, copy.tags, copy.desc) == ("a: 1", "yaml", ("x",), "d")
        assert kit.configs.transfer.pack(items)
        with pytest.raises(AtollError):
            kit.configs.transfer.pack([])

    with_configs(scenario)


ROW = {"id": 1, "data_id": "a", "group_id": "g", "tenant_id": "", "content": "x: 1", "type": "yaml"}


def test_rows_of_a_nacos_database() -> None:
    found = nacos_database.read(
        {
            "config_info": [ROW, {**ROW, "id": 2, "data_id": "bad name"}],
            "config_tags_relation": [{"id": 1, "tag_name": "t1"}, {"id": 1, "tag_name": "t2"}],
            "config_info_beta": [{**ROW, "beta_ips": "1.1.1.1"}],
            "config_info_tag": [{**ROW, "tag_id": "blue"}],
            "tenant_info": [{"tenant_id": "blue", "tenant_name": "Blue", "tenant_desc": None}],
            "users": [{"username": "u", "password": "$2a$", "enabled": 1}, {"username": "v", "password": "p", "enabled": 0}],
            "roles": [{"username": "u", "role": "r"}],
            "permissions": [{"role": "r", "resource": "blue:*:*", "action": "rw"}],
        }
    )  # fmt: skip
    assert [(each.key, each.details.gray_name) for each in found.items] == [
        (ConfigKey("public", "g", "a"), ""),
        (ConfigKey("public", "g", "a"), "beta"),
        (ConfigKey("public", "g", "a"), "tag_blue"),
    ]
    assert found.items[0].details.tags == ("t1", "t2")
    assert len(found.left_out) == 1 and "bad name" in found.left_out[0]
    assert [(each.id, each.name) for each in found.namespaces] == [("blue", "Blue")]
    assert found.users == (("u", "$2a$"), ("v", ""))
    assert (found.roles, found.permissions) == ((("u", "r"),), (("r", "blue:*:*", "rw"),))


def test_the_one_table_of_gray_releases_is_preferred() -> None:
    rule = '{"type":"beta","version":"1.0.0","expr":"1.1.1.1","priority":7}'
    found = nacos_database.read(
        {
            "config_info_gray": [
                {**ROW, "gray_name": "beta", "gray_rule": rule},
                {**ROW, "gray_name": "x", "gray_rule": "?"},
            ],
            "config_info_beta": [{**ROW, "beta_ips": "2.2.2.2"}],
        }
    )
    (item,) = found.items
    assert item.details.gray is not None
    assert (item.details.gray.expr, item.details.gray.priority) == ("1.1.1.1", 7)
    assert len(found.left_out) == 1

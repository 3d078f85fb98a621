"""What the registry's commands make of their arguments and of answers, without a node."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import pytest

from atoll.cli import command, config_items, main, past, registry, rollouts, services
from atoll.cli.registry import Place
from atoll.errors import AtollError, Code, Reason
from atoll.resources.config_item import GrayRule
from atoll.resources.rollout import HealthyGate, HttpGate, PrometheusGate
from atoll.resources.service import Selector


def options(*line: str) -> argparse.Namespace:
    return main.parser(lambda client: {}).parse_args(line)


@pytest.mark.parametrize(
    ("content", "line", "column", "shown"),
    [
        ("a: 1\nb: [2\n", 2, 6, "    2 | b: [2\n             ^"),
        ("a", 1, 0, "    1 | a"),
        ("\tx", 1, 2, "    1 |     x\n            ^"),
        ("a\n", 3, 1, "    3 | \n        ^"),
    ],
)
def test_a_fault_is_pointed_at(content: str, line: int, column: int, shown: str) -> None:
    assert config_items.pointed_at(content, line, column) == shown


def test_the_end_of_a_long_line_is_shown_where_the_fault_is() -> None:
    text = config_items.pointed_at("x" * 5_000 + "!" + "y" * 5_000, 1, 5_001)
    line, mark = text.splitlines()
    assert line[mark.index("^")] == "!" and len(line) < 200


def test_a_refused_content_is_shown_and_other_failures_are_left_alone() -> None:
    malformed = AtollError(Code.INVALID, "no", reason=Reason.CONTENT_INVALID, facts={"line": 1, "column": 2})
    with (
        pytest.raises(AtollError, match=r"(?s)no\n    1 \| ab\n         \^"),
        config_items.fault_shown("ab"),
    ):
        raise malformed
    other = AtollError(Code.CONFLICT, "no")
    with pytest.raises(AtollError) as caught, config_items.fault_shown("ab"):
        raise other
    assert caught.value is other


@pytest.mark.parametrize(
    ("text", "place"),
    [("10.0.0.1:80", Place("10.0.0.1", 80)), ("[::1]:80", Place("::1", 80)), ("host:1", Place("host", 1))],
)
def test_an_instance_is_named_by_its_address(text: str, place: Place) -> None:
    assert registry.place(text) == place


@pytest.mark.parametrize("text", ["10.0.0.1", ":80", "10.0.0.1:", "10.0.0.1:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AtollError, match="expected IP:PORT"):
        registry.place(text)


def test_pairs_have_a_name_and_a_value() -> None:
    assert registry.pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(AtollError, match="NAME=VALUE"):
        registry.pairs(["=1"])


def test_a_publish_takes_its_type_from_the_end_of_the_name(tmp_path: Path) -> None:
    file = tmp_path / "content"
    file.write_text("a: 1\n")
    for name, kind in (("shop.yml", "yaml"), ("shop.json", "json"), ("shop", "")):
        order = config_items.content_order(options("config-item", "publish", name, str(file)))
        assert (order.details.type, order.content) == (kind, "a: 1\n")
    told = options("config-item", "publish", "shop.yml", str(file), "--type", "text", "--tag", "x", "--force")
    details = config_items.content_order(told).details
    assert (details.type, details.tags, details.force) == ("text", ("x",), True)


def test_a_gray_release_is_for_addresses_a_tag_or_labels() -> None:
    line = ("config-item", "publish", "a", "b")
    assert config_items._gray(options(*line)) is None
    for flag, kind in (("--beta", "beta"), ("--for-tag", "tag"), ("--for-labels", "label")):
        assert config_items._gray(options(*line, flag, "x")) == GrayRule(kind, "x")


def test_gates_are_made_of_flags() -> None:
    line = ("config-item", "stage", "a", "b", "--healthy", "shop", "--share", "0.5", "--http", "http://x/")
    query = "http://p:9090 sum(rate(errors[1m])) <= 0.01"
    gates = rollouts._gates(options(*line, "--prometheus", query))
    assert gates == (
        HttpGate("http://x/"),
        HealthyGate(("shop",), share_min=0.5),
        PrometheusGate("http://p:9090", "sum(rate(errors[1m]))", "<=", 0.01),
    )
    with pytest.raises(AtollError, match="URL QUERY<=LIMIT"):
        rollouts._gates(options(*line, "--prometheus", "nonsense"))
    with pytest.raises(AtollError, match="percentages"):
        rollouts._steps("10,many")


@pytest.mark.parametrize(
    ("text", "seconds_ago"), [("5m", 300.0), ("90s", 90.0), ("1.5h", 5_400.0), ("2d", 172_800.0)]
)
def test_a_time_is_so_long_ago(text: str, seconds_ago: float) -> None:
    assert past.moment(text, 1_800_000_000.0) == 1_800_000_000.0 - seconds_ago


def test_a_time_is_told_as_people_do() -> None:
    now = datetime.datetime(2026, 1, 31, 12, 30, 5).astimezone()
    now_s = now.timestamp()
    for text in ("12:30:05", "2026-01-31 12:30:05", "2026-01-31T12:30:05"):
        assert past.moment(text, now_s + 3_600) == now_s
    assert past.moment("12:30", now_s) == now_s - 5
    assert past.moment("", now_s) == 0.0
    with pytest.raises(AtollError, match="is no time"):
        past.moment("yesterday", now_s)


def test_a_selector_has_a_kind_and_an_expression() -> None:
    assert services._selector("nearby:zone,region") == Selector("nearby", "zone,region")
    assert services._selector("none") == Selector("none", "")
    with pytest.raises(AtollError, match="KIND:EXPRESSION"):
        services._selector("label")


def test_a_password_is_the_first_line_of_a_file_and_never_an_argument(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\r\nmore\n")
    assert command.secret(str(file), "") == "secret"
    with pytest.raises(AtollError, match="cannot be read"):
        command.secret(str(tmp_path / "none"), "")
    for action in _actions():
        assert not {"--password", "--new-password", "--database-password"} & set(action.option_strings)


def _actions() -> list[argparse.Action]:
    found: list[argparse.Action] = []
    parsers = [main.parser(lambda client: {})]
    while parsers:
        for action in parsers.pop()._actions:
            found.append(action)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return found

"""The HTTP API over an ASGI application in this process: endpoints, errors, the document, the gate."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import msgspec
import pytest

from atoll.client.local import LocalTransport
from atoll.client.node import Client
from atoll.errors import AtollError, Code, Reason
from atoll.runtime import http_local, loop
from atoll.runtime.http1 import Application
from atoll.runtime.http_api import STATUS, Asked, Endpoint, Text, application, openapi
from atoll.runtime.http_client import HttpRequest
from atoll.runtime.http_guard import Caller, Gate
from atoll.runtime.logs import Log
from atoll.runtime.net import Address

HOST = "127.0.0.1:7070"


class Thing(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int = 0


class Counting(msgspec.Struct, frozen=True):
    """How to count."""

    end: str = ""
    times: Annotated[int, msgspec.Meta(ge=1, le=3)] = 1
    slowly: bool = False


async def get_thing(asked: Asked) -> Thing:
    return Thing(asked.field("name"), 3)


async def make_thing(asked: Asked) -> Thing:
    thing: Thing = asked.body
    return thing


async def full(asked: Asked) -> Thing:
    raise AtollError(Code.EXHAUSTED, "the disk is full", reason=Reason.NO_SPACE, facts={"key": "k"})


async def limited(asked: Asked) -> Thing:
    raise AtollError(Code.EXHAUSTED, "too many", reason=Reason.RATE_LIMITED, retry_after_s=1.2)


async def broken(asked: Asked) -> Thing:
    raise RuntimeError("a bug with a secret in it")


async def count(asked: Asked) -> AsyncIterator[Thing]:
    for _ in range(asked.fields.times):
        yield Thing("one")
        yield Thing("two")
    if asked.fields.end == "badly":
        raise AtollError(Code.UNAVAILABLE, "the store went away")


async def refuse(asked: Asked) -> AsyncIterator[Thing]:
    raise AtollError(Code.NOT_FOUND, "no such thing")
    yield Thing("never")


async def text(asked: Asked) -> Text:
    return Text(b"fine\n")


async def echo(asked: Asked) -> Text:
    return Text(asked.body)


async def whoever(asked: Asked) -> Caller:
    return asked.caller


ENDPOINTS = [
    Endpoint("GET", "/thing", "A thing.", get_thing, Thing, query=("name",)),
    Endpoint("POST", "/thing", "Make a thing.", make_thing, Thing, body=Thing),
    Endpoint("GET", "/full", "Fails.", full, Thing),
    Endpoint("GET", "/limited", "Fails for now.", limited, Thing),
    Endpoint("GET", "/broken", "Has a bug.", broken, Thing),
    Endpoint("GET", "/count", "Counts.", count, Thing, query=Counting, streams=True),
    Endpoint("GET", "/refuse", "Refuses.", refuse, Thing, streams=True),
    Endpoint("GET", "/open", "For all.", text, str, open_to_all=True),
    Endpoint("POST", "/echo", "Gives it back.", echo, Text, body=bytes, body_bytes_max=10),
    Endpoint("GET", "/me", "Who asks.", whoever, Caller, for_users=True),
    Endpoint("POST", "/me", "Who orders.", whoever, Caller),
]


def session_of(token: str) -> str:
    if token not in ("of-ann",):
        raise AtollError(Code.DENIED, "no such session", reason=Reason.INVALID_TOKEN)
    return "ann"


def app(token: str = "", host: str = "127.0.0.1") -> Application:
    return application(ENDPOINTS, Gate(Address(host, 7070), token, session_of), Log("api"), "1", {})


def ask(
    method: str,
    target: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    to: Application | None = None,
) -> tuple[int, Any, dict[str, str]]:
    async def scenario() -> tuple[int, bytes, dict[str, str]]:
        given = dict(headers or {})
        host = given.pop("host", HOST)
        answer = await http_local.ask(to or app(), HttpRequest(method, target, given, body), host)
        return answer.status, await answer.body(), answer.headers

    status, content, answered = loop.run(scenario())
    is_json = answered.get("content-type") == "application/json"
    return status, json.loads(content) if is_json else content, answered


def test_an_endpoint_answers_with_its_value() -> None:
    assert ask("GET", "/thing?name=x")[:2] == (200, {"name": "x", "size_bytes": 3})
    assert ask("POST", "/thing", b'{"name":"y"}')[:2] == (200, {"name": "y", "size_bytes": 0})


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code", "message"),
    [
        ("GET", "/thing", b"", 400, "invalid", "'name' is missing"),
        ("POST", "/thing", b"{", 400, "invalid", "not what /thing takes"),
        ("POST", "/thing", b'{"name":1}', 400, "invalid", "Expected `str`, got `int`"),
        ("POST", "/thing", b" " * 1_100_000, 400, "invalid", "more than 1048576 bytes"),
        ("POST", "/thing", b'{"name":"\xff"}', 400, "invalid", "not what /thing takes"),
        ("POST", "/echo", b"12345678901", 400, "invalid", "more than 10 bytes"),
        ("GET", "/thing?name=x&nome=y", b"", 400, "invalid", "no query field 'nome'; it knows name"),
        ("GET", "/thing?name=x&name=y", b"", 400, "invalid", "given twice"),
        ("GET", "/count?times=4", b"", 400, "invalid", "`int` <= 3"),
        ("GET", "/count?times=x", b"", 400, "invalid", "Expected `int`"),
        ("GET", "/count?slowly=perhaps", b"", 400, "invalid", "Expected `bool`"),
        ("GET", "/full", b"", 507, "exhausted", "the disk is full"),
        ("GET", "/limited", b"", 429, "exhausted", "too many"),
        ("GET", "/refuse", b"", 404, "not_found", "no such thing"),
        ("GET", "/none", b"", 404, "not_found", "/openapi.json lists"),
        ("DELETE", "/thing", b"", 405, "invalid", "Method Not Allowed"),
    ],
)
def test_failures_have_one_shape(
    method: str, target: str, body: bytes, status: int, code: str, message: str
) -> None:
    got, answer, _ = ask(method, target, body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert message in answer["error"]["message"]


def test_a_bug_is_raised_to_the_server_and_says_nothing_to_the_caller() -> None:
    with pytest.raises(RuntimeError, match="a bug with a secret"):
        ask("GET", "/broken")


def test_a_stream_is_lines_and_its_failure_is_the_last_of_them() -> None:
    assert ask("GET", "/count")[1].count(b"\n") == 2
    assert ask("GET", "/count?times=2&slowly=true")[1].count(b"\n") == 4
    last = ask("GET", "/count?end=badly")[1].splitlines()[-1]
    assert json.loads(last)["error"]["message"] == "the store went away"


def test_the_client_gets_values_and_the_errors_that_were_meant() -> None:
    async def scenario() -> None:
        client = Client(LocalTransport(app(), HOST))
        assert await client.get("/thing", Thing, name="a/b c") == Thing("a/b c", 3)
        assert await client.post("/thing", Thing("p", 1), Thing) == Thing("p", 1)
        assert [each async for each in client.lines("/count", Thing)] == [Thing("one"), Thing("two")]
        with pytest.raises(AtollError, match="the store went away"):
            assert [each async for each in client.lines("/count", Thing, end="badly")]
        with pytest.raises(AtollError) as caught:
            await client.get("/full", Thing)
        assert (caught.value.code, caught.value.reason) == (Code.EXHAUSTED, Reason.NO_SPACE)
        assert caught.value.facts == {"key": "k"}

    loop.run(scenario())


@pytest.mark.parametrize(
    ("headers", "host", "allowed"),
    [
        ({}, "127.0.0.1", True),
        ({"host": "localhost:7070"}, "127.0.0.1", True),
        ({"host": "[::1]:7070"}, "127.0.0.1", True),
        ({"host": "rebound.example:7070"}, "127.0.0.1", False),
        ({"host": ""}, "127.0.0.1", False),
        ({"host": "[::1"}, "127.0.0.1", False),
        ({"origin": "http://[::1"}, "127.0.0.1", False),
        ({"host": "127.0.0.1.example"}, "127.0.0.1", False),
        ({"origin": f"http://{HOST}"}, "127.0.0.1", True),
        ({"origin": "http://example.org"}, "127.0.0.1", False),
        ({"origin": "null"}, "127.0.0.1", False),
        ({"host": "node.example:7070"}, "0.0.0.0", True),
        ({"host": "node.example:7070", "origin": "https://other.example"}, "0.0.0.0", False),
    ],
)
def test_foreign_hosts_and_origins_are_refused(headers: dict[str, str], host: str, allowed: bool) -> None:
    status, answer, _ = ask("GET", "/thing?name=x", headers=headers, to=app(host=host))
    assert status == (200 if allowed else 403), answer


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("", 401),
        ("Bearer wrong", 401),
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Basic " + base64.b64encode(b"anyone:s3cret").decode(), 200),
        ("Basic " + base64.b64encode(b"s3cret:").decode(), 401),
        ("Basic ***", 401),
        ("Digest s3cret", 401),
    ],
)
def test_the_token_is_asked_for(authorization: str, status: int) -> None:
    got, _, answered = ask("GET", "/thing?name=x", headers={"authorization": authorization}, to=app("s3cret"))
    assert got == status
    assert ("www-authenticate" in answered) == (status == 401)
    assert ask("GET", "/open", to=app("s3cret"))[0] == 200


@pytest.mark.parametrize(
    ("method", "target", "authorization", "status", "answer"),
    [
        (
            "GET",
            "/me",
            "Bearer s3cret",
            200,
            {"user": "", "address": "", "operator": True, "proven": True, "peer": None},
        ),
        (
            "GET",
            "/me",
            "Bearer of-ann",
            200,
            {"user": "ann", "address": "", "operator": False, "proven": False, "peer": None},
        ),
        ("GET", "/me", "Basic " + base64.b64encode(b"ann:of-ann").decode(), 401, None),
        ("GET", "/me", "Bearer of-bob", 401, None),
        ("GET", "/me", "", 401, None),
        ("POST", "/me", "Bearer of-ann", 401, None),
        ("GET", "/thing?name=x", "Bearer of-ann", 401, None),
        ("GET", "/me/", "Bearer of-ann", 401, None),
    ],
)
def test_a_users_token_opens_what_is_meant_for_users(
    method: str, target: str, authorization: str, status: int, answer: object
) -> None:
    got, answered, _ = ask(method, target, headers={"authorization": authorization}, to=app("s3cret"))
    assert got == status
    if answer is not None:
        assert answered == answer


def test_without_a_token_everybody_is_the_operator() -> None:
    unproven = {"user": "", "address": "", "operator": True, "proven": False, "peer": None}
    assert ask("GET", "/me")[1] == unproven
    assert ask("POST", "/me", headers={"authorization": "Bearer of-ann"})[1] == unproven
    assert ask("GET", "/me", headers={"authorization": "Bearer of-ann"})[1]["user"] == "ann"


def test_the_document_describes_every_endpoint() -> None:
    document = ask("GET", "/openapi.json")[1]
    assert document == msgspec.json.decode(msgspec.json.encode(openapi(ENDPOINTS, "1")))
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(each.method, each.path) for each in ENDPOINTS}
    thing = document["components"]["schemas"]["Thing"]
    assert thing["required"] == ["name"]
    assert document["paths"]["/thing"]["get"]["parameters"][0]["name"] == "name"
    counting = {each["name"]: each for each in document["paths"]["/count"]["get"]["parameters"]}
    assert counting["times"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 3, "default": 1}
    assert counting["times"]["required"] is False
    echoed = document["paths"]["/echo"]["post"]
    assert "application/octet-stream" in echoed["requestBody"]["content"]
    assert list(echoed["responses"]["200"]["content"]) == ["*/*"]


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(Code)
    assert len(set(STATUS.values())) == len(Code)

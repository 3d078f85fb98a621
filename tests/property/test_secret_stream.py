"""One stream of secrets against a client that does anything a client may: asks for more or less, accepts, refuses, is late.

What must hold: one answer under way at a time, nothing said twice in a row, and a client that accepts everything ends with what
the secrets are now.
"""

from __future__ import annotations

from typing import Any

from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.wire.xds import secrets
from atoll.wire.xds.secrets import Secret, SecretStream

NAMES = ("default", "ROOTCA", "web")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(NAMES), st.integers(0, 3)),
        st.tuples(st.just("ask"), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(st.just("answer"), st.booleans()),
        st.tuples(st.just("late"), st.booleans()),
    ),
    max_size=40,
)


class Client:
    """Keeps what it accepted; ``under_way`` is the answer that it has not said anything to yet."""

    def __init__(self, known: dict[str, Secret]) -> None:
        self.stream = SecretStream(known)
        self.wanted: tuple[str, ...] = ("default",)
        self.under_way: Any = None
        self.nonces: list[str] = []
        self.has: dict[str, bytes] = {}
        self.last: tuple[tuple[str, ...], list[bytes]] | None = None

    def take(self, response: bytes | None) -> None:
        if response is None:
            return
        assert self.under_way is None, "a second answer before the first was acknowledged"
        message = discovery_pb2.DiscoveryResponse.FromString(response)
        told = (self.wanted, [each.SerializeToString() for each in message.resources])
        assert told != self.last, "the same was said twice in a row"
        self.last = told
        self.under_way = message
        self.nonces.append(message.nonce)

    def request(self, nonce: str, accepted: bool = True) -> None:
        asked = discovery_pb2.DiscoveryRequest(
            type_url=secrets.TYPE_URL, resource_names=self.wanted, response_nonce=nonce
        )
        if not accepted:
            asked.error_detail.message = "no"
        self.take(self.stream.on_request(asked.SerializeToString()))

    def answer(self, accepted: bool) -> None:
        message, self.under_way = self.under_way, None
        if message is None:
            return
        if accepted:
            self.has.update({_name(each): each.value for each in message.resources})
        self.request(message.nonce, accepted)


def _name(packed: Any) -> str:
    found = secret_pb2.Secret()
    packed.Unpack(found)
    return str(found.name)


def _secret(name: str, version: int) -> Secret:
    return secrets.certificate(name, f"chain {version}", "key")


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_a_stream_of_secrets_ends_with_what_they_are_whatever_its_client_did(steps: list[Any]) -> None:
    known = {"default": _secret("default", 0)}
    client = Client(known)
    client.request("")
    for step in steps:
        match step:
            case ("change", name, version):
                known = {**known, name: _secret(name, version)}
                client.take(client.stream.advance(known))
            case ("ask", names):
                client.wanted = tuple(sorted(names))
                if client.under_way is None:
                    client.request(client.nonces[-1] if client.nonces else "")
            case ("answer", accepted):
                client.answer(accepted)
            case ("late", accepted) if len(client.nonces) > 1:
                client.request(client.nonces[-2], accepted)
    while client.under_way is not None:
        client.answer(True)
    known = {**known, **{name: _secret(name, 9) for name in client.wanted}}
    client.take(client.stream.advance(known))
    while client.under_way is not None:
        client.answer(True)
    expected = {name: known[name] for name in client.wanted}
    assert {name: client.has[name] for name in expected} == {
        name: _body(secret) for name, secret in expected.items()
    }


def _body(secret: Secret) -> bytes:
    message = discovery_pb2.DiscoveryResponse.FromString(secret.entry)
    return bytes(message.resources[0].value)

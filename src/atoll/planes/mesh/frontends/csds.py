"""Client status discovery: what each client was given and what it says of it, in xDS's own form (CSDS, config dumps).

Rule: read-only; who asks hears of clients of its own service only, as with its own configuration, unless the mesh trusts
whoever reaches its port. Operators ask Atoll's own API, which says more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from envoy.admin.v3 import config_dump_shared_pb2
from envoy.service.status.v3 import csds_pb2
from google.protobuf.message import DecodeError

from atoll.errors import AtollError, Code
from atoll.planes.mesh.frontends.xds import Visitors
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.sessions import Session
from atoll.resources.mesh.clients import Client
from atoll.runtime.grpc_call import Call
from atoll.runtime.grpc_server import Route, streaming, unary
from atoll.runtime.peer import Peer
from atoll.wire.xds.messages import node_of
from atoll.wire.xds.shelf import Offer
from atoll.wire.xds.track import Track

_SERVICE = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
STREAM_PATH = _SERVICE + "StreamClientStatus"
FETCH_PATH = _SERVICE + "FetchClientStatus"

_ACKED, _NACKED, _REQUESTED, _ABSENT = (
    config_dump_shared_pb2.ClientResourceStatus.Value(name)
    for name in ("ACKED", "NACKED", "REQUESTED", "DOES_NOT_EXIST")
)
_CONFIG = {name: csds_pb2.ConfigStatus.Value(name) for name in ("SYNCED", "NOT_SENT", "STALE", "ERROR")}


class Csds:
    """``all_for``: whether a peer may hear of everybody."""

    def __init__(self, push: Push, visitors: Visitors, all_for: Callable[[Peer], bool]) -> None:
        self._push = push
        self._visitors = visitors
        self._all_for = all_for

    @property
    def routes(self) -> Mapping[str, Route]:
        return {STREAM_PATH: streaming(self._stream), FETCH_PATH: unary(self._fetch)}

    async def _stream(self, call: Call) -> None:
        async for message in call.messages():
            await call.send(self._answer(call, message))

    async def _fetch(self, call: Call, message: bytes) -> bytes:
        return self._answer(call, message)

    def _answer(self, call: Call, message: bytes) -> bytes:
        request = _read(message)
        asks: Client | None = None
        if not self._all_for(call.peer):
            asks = self._visitors.client(call.peer, node_of(request.node))
        found = [
            _client_config(session, bodies=not request.exclude_resource_contents)
            for session in self._push.sessions()
            if _may_hear(asks, session) and _matches(request, session)
        ]
        answer: bytes = csds_pb2.ClientStatusResponse(config=found).SerializeToString()
        return answer


def _read(message: bytes) -> Any:
    try:
        return csds_pb2.ClientStatusRequest.FromString(message)
    except DecodeError as error:
        raise AtollError(Code.INVALID, f"not a ClientStatusRequest: {error}") from error


def _may_hear(asks: Client | None, session: Session) -> bool:
    client = session.group.client
    return asks is None or (asks.service, asks.namespace) == (client.service, client.namespace)


def _matches(request: Any, session: Session) -> bool:
    """``node_matchers`` by ``node_id``, exact, prefix, suffix or part; none: everybody."""
    node = session.who.id.node
    return not request.node_matchers or any(
        _text_matches(each.node_id, node) for each in request.node_matchers
    )


def _text_matches(matcher: Any, text: str) -> bool:
    pattern = matcher.WhichOneof("match_pattern")
    wanted = getattr(matcher, pattern) if pattern else ""
    if not isinstance(wanted, str):
        raise AtollError(
            Code.INVALID,
            f"node_matchers by {pattern} are not supported; use exact, prefix, suffix or contains",
        )
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    tests: Mapping[str | None, bool] = {
        None: True,
        "exact": text == wanted,
        "prefix": text.startswith(wanted),
        "suffix": text.endswith(wanted),
        "contains": wanted in text,
    }
    return tests[pattern]


def _client_config(session: Session, *, bodies: bool) -> Any:
    config = csds_pb2.ClientConfig()
    config.node.id = session.who.id.node
    for track in session.stream.tracks.values():
        if track.subscribed:
            _add_track(config, track, bodies=bodies)
    return config


def _add_track(config: Any, track: Track, *, bodies: bool) -> None:
    names = dict.fromkeys([*track.sent, *sorted(track.names)])
    for name in names:
        offer = track.sent.get(name)
        said = config.generic_xds_configs.add(type_url=track.type_url, name=name)
        said.client_status, said.config_status = _statuses(track, name, offer)
        if offer is not None:
            said.version_info = offer.version
            if bodies and not offer.is_ghost:
                said.xds_config.type_url, said.xds_config.value = track.type_url, offer.resource.body
        if track.is_refusing and name in track.refused:
            said.error_state.version_info = track.refused[name]
            said.error_state.details = track.told.text


def _statuses(track: Track, name: str, offer: Offer | None) -> tuple[int, int]:
    """As the client says, as the server sees it."""
    if track.is_refusing and name in track.refused:
        return _NACKED, _CONFIG["ERROR"]
    if offer is None:
        return (_ABSENT if name in track.absent else _REQUESTED), _CONFIG["NOT_SENT"]
    if track.accepted.get(name) is offer:
        return _ACKED, _CONFIG["SYNCED"]
    return _REQUESTED, _CONFIG["STALE"]

"""One server as the differential tests see it: raw gRPC calls whose outcomes are kept in a comparable form.

Rule: everything that a client can see is compared, except what two servers cannot share: cluster and member ids,
raft fields, the ids of leases that the server chose, a lease's remaining time, sizes, hashes, tokens and versions.
Chosen lease ids are replaced by their order of appearance, also inside keys (``lock/694d7a...``).
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import grpc

from atoll.wire.etcd import messages
from atoll.wire.etcd.services import METHODS
from tests.waiting import wait_until

TIMEOUT_S = 20.0
CHOSEN_LEASE_MIN = 1 << 32  # tests choose smaller ids
_CHOSEN_LEASE = re.compile(rb"(.*)/([0-9a-f]{9,16})", re.DOTALL)
_OUT_OF_COMPARISON = {
    "cluster_id",
    "member_id",
    "raft_term",
    "raftTerm",
    "raftIndex",
    "raftAppliedIndex",
    "dbSize",
    "dbSizeInUse",
    "version",
    "leader",
    "hash",
    "token",
    "blob",
    "remaining_bytes",
    "memberID",
}
_UNORDERED = {"leases", "keys"}  # etcd keeps these in Go maps


class Side:
    """A connection to one server, and the transcript of what was called on it."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.transcript: list[Any] = []
        self._chosen: dict[int, str] = {}
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(address, options=options)

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, message: Any = None, *, token: str = "", timeout_s: float = TIMEOUT_S) -> Any:
        """Make one call and note its outcome. Returns the response, or None where it failed."""
        request = METHODS[method].request() if message is None else message
        status, text, response = self._outcome(method, request, token, timeout_s)
        self.note(method, status, text, None if response is None else self.plain(response))
        return response

    def note(self, *entry: Any) -> None:
        self.transcript.append(entry)

    def start(self, method: str, message: Any, *, token: str = "", timeout_s: float = TIMEOUT_S) -> Any:
        """Begin a unary call; ``finish`` notes its outcome."""
        return self.stub(method).future(message, timeout=timeout_s, metadata=_metadata(token))

    def finish(self, method: str, future: Any) -> Any:
        try:
            response = future.result()
        except grpc.RpcError as error:
            self.note(method, error.code().name, error.details(), None)
            return None
        except grpc.FutureCancelledError:
            self.note(method, "CANCELLED", "", None)
            return None
        self.note(method, "OK", "", self.plain(response))
        return response

    def finish_quietly(self, method: str, future: Any) -> None:
        """Notes only how a call that was given up ended."""
        try:
            future.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self.note(method, error.code().name if isinstance(error, grpc.RpcError) else "CANCELLED")

    def stub(self, method: str) -> Any:
        found = METHODS[method]
        kinds = {
            (False, False): self._channel.unary_unary,
            (True, False): self._channel.stream_unary,
            (False, True): self._channel.unary_stream,
            (True, True): self._channel.stream_stream,
        }
        kind = kinds[found.request_streams, found.response_streams]
        return kind(
            found.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=found.response.FromString,
        )

    def raw(self, path: str, data: bytes, timeout_s: float = TIMEOUT_S) -> tuple[str, str, bytes | None]:
        """Any bytes to any path."""
        send = self._channel.unary_unary(path)
        try:
            return "OK", "", send(data, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code().name, error.details(), None

    def raw_stream(self, path: str, data: bytes, timeout_s: float) -> Any:
        """The responses of a streaming call whose stream of requests is these bytes alone."""
        return self._channel.stream_stream(path)(iter([data]), timeout=timeout_s)

    def keep_alive(self, *leases: int, token: str = "") -> None:
        """One keep-alive stream with one request a lease; notes the answers."""
        requests = iter([messages.LeaseKeepAliveRequest(ID=lease) for lease in leases])
        answers = self.stub("Lease.LeaseKeepAlive")(requests, timeout=TIMEOUT_S, metadata=_metadata(token))
        try:
            self.note("keep-alive", [self.plain(answer) for answer in answers])
        except grpc.RpcError as error:
            self.note("keep-alive", error.code().name, error.details())

    def watch(self, *, token: str = "") -> WatchStream:
        return WatchStream(self, token)

    def raw_watch(self, key: bytes, **fields: Any) -> Any:
        """The responses of a stream with one watch, which come only as fast as they are asked for."""
        create = messages.WatchCreateRequest(key=key, **fields)
        return self.stub("Watch.Watch")(iter([messages.WatchRequest(create_request=create)]))

    def wait_for(self, method: str, request: Any, until: Any, what: str) -> Any:
        """Repeat a read, not noted, until ``until(response)``; for states that time brings about."""

        def answered() -> Any:
            _, _, response = self._outcome(method, request, "", TIMEOUT_S)
            return response if response is not None and until(response) else None

        return wait_until(answered, TIMEOUT_S, f"{self.name}: {what}")

    def plain(self, message: Any) -> Any:
        """``message`` as dicts and lists, in the comparable form."""
        return self._plain(message)

    def _outcome(self, method: str, request: Any, token: str, timeout_s: float) -> tuple[str, str, Any]:
        try:
            response = self.stub(method)(request, timeout=timeout_s, metadata=_metadata(token))
        except grpc.RpcError as error:
            return error.code().name, error.details(), None
        return "OK", "", response

    def _plain(self, message: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        for field, value in message.ListFields():
            if field.name not in _OUT_OF_COMPARISON:
                answer[field.name] = self._value(message, field, value)
        return answer

    def _value(self, message: Any, field: Any, value: Any) -> Any:
        if field.message_type is not None and not _repeated(field):
            return self._plain(value)
        if _repeated(field):
            found = [self._one(message, field, one) for one in value]
            return sorted(found, key=repr) if field.name in _UNORDERED else found
        return self._one(message, field, value)

    def _one(self, message: Any, field: Any, value: Any) -> Any:
        if field.message_type is not None:
            return self._plain(value)
        if field.name in ("ID", "lease"):
            return self._lease(value)
        if field.name == "TTL" and message.DESCRIPTOR.name == "LeaseTimeToLiveResponse":
            return value if value <= 0 else 0 < value <= message.grantedTTL
        if field.name in ("key", "keys") and field.type == field.TYPE_BYTES:
            return self._key(value)
        return value

    def _lease(self, lease: int) -> int | str:
        if lease < CHOSEN_LEASE_MIN:
            return lease
        return self._chosen.setdefault(lease, f"chosen lease {len(self._chosen) + 1}")

    def _key(self, key: bytes) -> bytes | str:
        found = _CHOSEN_LEASE.fullmatch(key)
        return f"{found[1]!r}/{self._lease(int(found[2], 16))}" if found else key


class WatchStream:
    """A watch stream; ``take`` waits for responses and notes them."""

    def __init__(self, side: Side, token: str) -> None:
        self._side = side
        self._requests: queue.Queue[Any] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._call = side.stub("Watch.Watch")(iter(self._requests.get, None), metadata=_metadata(token))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def create(self, key: bytes, **fields: Any) -> None:
        self._requests.put(
            messages.WatchRequest(create_request=messages.WatchCreateRequest(key=key, **fields))
        )

    def cancel(self, watch_id: int) -> None:
        self._requests.put(
            messages.WatchRequest(cancel_request=messages.WatchCancelRequest(watch_id=watch_id))
        )

    def ask_progress(self) -> None:
        self._requests.put(messages.WatchRequest(progress_request=messages.WatchProgressRequest()))

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def answer(self, timeout_s: float = TIMEOUT_S) -> Any:
        """The next response, not noted."""
        found = self._answers.get(timeout=timeout_s)
        if isinstance(found, grpc.RpcError):
            raise found
        return found

    def control(self, count: int = 1) -> Sequence[Any]:
        """Note the next ``count`` responses, which carry no events (created, canceled, progress)."""
        found = [self.answer() for _ in range(count)]
        for one in found:
            self._side.note("watch", self._side.plain(one))
        return found

    def events(self, count: int) -> list[Any]:
        """Note the next ``count`` events with their watch ids; how they are batched is checked, not compared:
        all events of a revision come together, and no header is older than its events."""
        found: list[tuple[int, Any]] = []
        while len(found) < count:
            response = self.answer()
            assert response.events, f"{self._side.name}: expected events, got {response}"
            assert response.header.revision >= max(event.kv.mod_revision for event in response.events)
            found += [(response.watch_id, event) for event in response.events]
        found.sort(key=lambda one: one[0])  # between watchers there is no order; within one it is kept
        self._side.note("events", [(watch_id, self._side.plain(event)) for watch_id, event in found])
        assert len(found) == count, f"{self._side.name}: {len(found)} events instead of {count}"
        return [event for _, event in found]

    def half_close(self) -> None:
        self._requests.put(None)

    def close(self) -> None:
        self._call.cancel()
        self._requests.put(None)

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._answers.put(answer)
        except grpc.RpcError as error:
            self._answers.put(error)


def _metadata(token: str) -> list[tuple[str, str]]:
    return [("token", token)] if token else []


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def differences(one: Side, other: Side) -> Iterator[str]:
    """Where two transcripts part, readable."""
    for at, (mine, theirs) in enumerate(zip(one.transcript, other.transcript, strict=False)):
        if mine != theirs:
            yield f"entry {at}:\n  {one.name}: {mine}\n  {other.name}: {theirs}"
    if len(one.transcript) != len(other.transcript):
        yield f"{one.name} has {len(one.transcript)} entries, {other.name} {len(other.transcript)}"

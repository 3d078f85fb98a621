"""One gRPC channel to one member of an etcd cluster: the only place that touches ``grpc``.

One rule: a call ends by exactly one callback, with etcd's message or with a ``Failure``; nothing of gRPC gets
past this module. Callbacks run on gRPC's threads. Nothing here decides, retries or waits.

gRPC's own retries and its sharing of connections between channels are off: this project decides what is sent
again, and a connection that is given up must be gone. ``grpc`` is imported when the first link is made, so that
a process which never opens an etcd cluster never loads it.
"""

from __future__ import annotations

import functools
import importlib
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from atoll.errors import AtollError, Code, Reason
from atoll.runtime.worker import Worker
from atoll.store.api import Cancel
from atoll.store.etcd_errors import Failure
from atoll.store.etcd_url import EtcdAddress
from atoll.wire.etcd.services import Method

Ended: TypeAlias = Callable[[Any], None]  # gets the response, or a Failure

# etcd answers more frequent pings than one in 5 s by closing the connection (--grpc-keepalive-min-time).
_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),  # also the time limit of one attempt to connect
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", -1),  # etcd's own limit decides, with etcd's own error
    ("grpc.max_receive_message_length", -1),  # a range answer has no limit in etcd
)


class Security:
    """The certificates of an address, read once; ``None`` inside: no TLS."""

    def __init__(self, address: EtcdAddress) -> None:
        self.files: tuple[bytes | None, bytes | None, bytes | None] | None = None
        if address.tls:
            self.files = (_pem(address.ca), _pem(address.key), _pem(address.cert))


def _pem(path: str) -> bytes | None:
    if not path:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise AtollError(
            Code.INVALID, f"cannot read {path}: {error.strerror}; it must be a PEM file"
        ) from error
    if b"-----BEGIN " not in content:
        raise AtollError(Code.INVALID, f"{path} is not a PEM file: no line begins with -----BEGIN")
    return content


class Link:
    """A channel. It connects by itself when called, and again after a failure."""

    def __init__(self, endpoint: str, security: Security) -> None:
        grpc = importlib.import_module("grpc")
        self.endpoint = endpoint
        self._calls: dict[str, Any] = {}
        self._under_way = 0
        self._retired = False
        if security.files is None:
            self._channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        else:
            root, key, chain = security.files
            credentials = grpc.ssl_channel_credentials(root, key, chain)
            self._channel = grpc.secure_channel(endpoint, credentials, options=_OPTIONS)

    def call(
        self,
        method: Method,
        message: Any,
        timeout_s: float,
        metadata: list[tuple[str, str]],
        ended: Ended,
    ) -> Cancel:
        """A unary call. The caller says ``release`` when it has heard the end."""
        self._under_way += 1
        future = self._callable(method).future(message, timeout=timeout_s, metadata=metadata)
        future.add_done_callback(lambda done: ended(_outcome(done)))
        cancel: Cancel = future.cancel
        return cancel

    def stream(self, method: Method, token: str, heard: Ended) -> Stream:
        """A call whose both sides stream. ``heard`` gets each response and, last, a Failure."""
        return Stream(self._callable(method), f"{method.name} {self.endpoint}", token, heard)

    def _callable(self, method: Method) -> Any:
        if method.path not in self._calls:
            make = self._channel.stream_stream if method.request_streams else self._channel.unary_unary
            self._calls[method.path] = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
        return self._calls[method.path]

    def release(self) -> None:
        """A unary call's end was heard."""
        self._under_way -= 1
        self._close_if_unused()

    def retire(self) -> None:
        """Begin no more calls; close when those under way have ended."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._retired and self._under_way == 0:
            self._channel.close()

    def close(self) -> None:
        """End everything now; calls under way end as CANCELLED."""
        self._channel.close()


class Stream:
    """The sending side of a call whose both sides stream. Ends by ``close`` or from the other side."""

    def __init__(self, call: Any, name: str, token: str, heard: Ended) -> None:
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call = call(self._requests(), metadata=metadata(token))
        Worker(f"etcd {name}", functools.partial(_read, self._call, heard))

    def _requests(self) -> Iterator[Any]:
        while (message := self._outbox.get()) is not None:
            yield message

    def send(self, message: Any) -> None:
        self._outbox.put(message)

    def close(self) -> None:
        self._outbox.put(None)
        self._call.cancel()


def _read(call: Any, heard: Ended) -> None:
    grpc = importlib.import_module("grpc")
    try:
        for message in call:
            heard(message)
    except grpc.RpcError:
        heard(_failure(call))
    else:
        heard(Failure("UNAVAILABLE", "the member ended the stream"))


def _outcome(done: Any) -> Any:
    """``done`` is a finished future of gRPC."""
    return _failure(done) if done.cancelled() or done.code().name != "OK" else done.result()


def _failure(call: Any) -> Failure:
    return Failure(call.code().name, call.details() or "")


def metadata(token: str, *, needs_leader: bool = True) -> list[tuple[str, str]]:
    """``needs_leader``: a member that knows none refuses the call, or ends the stream, instead of letting it hang."""
    return [("hasleader", "true")] * needs_leader + [("token", token)] * bool(token)


def closed() -> AtollError:
    return AtollError(Code.UNAVAILABLE, "the store was closed", reason=Reason.CLOSED)

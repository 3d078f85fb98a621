"""A Nacos client without manners: says exactly what a test tells it to, over grpcio.

Rule: bodies are dicts, written and read as JSON by this file alone, so that the codec under test does not check itself.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple

import grpc

from atoll.wire.nacos import payload

WITHIN_S = 20.0
NO_KEEPALIVE = ("grpc.keepalive_time_ms", 2**31 - 1)


class Pushed(NamedTuple):
    type: str
    body: dict[str, Any]


class Stream:
    """The bidirectional stream of one client. ``answering``: say yes to every push, as SDKs do."""

    def __init__(self, channel: grpc.Channel, answering: bool = True) -> None:
        self.pushes: queue.Queue[Pushed] = queue.Queue()
        self.ended = threading.Event()
        self.status: grpc.StatusCode | None = None
        self.answering = answering
        self._outgoing: queue.Queue[bytes | None] = queue.Queue()
        self._call = channel.stream_stream(payload.STREAM_PATH)(self._requests())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, type_name: str, body: Mapping[str, Any]) -> None:
        self.send_raw(payload.encode(type_name, json.dumps(body).encode()))

    def send_raw(self, message: bytes) -> None:
        self._outgoing.put(message)

    def answer(self, push: Pushed, type_name: str = "NotifySubscriberResponse", **fields: Any) -> None:
        body = {"resultCode": 200, "errorCode": 0, "requestId": push.body["requestId"], **fields}
        self.send(type_name, body)

    def next(self, type_name: str, within_s: float = WITHIN_S) -> dict[str, Any]:
        """The next push, which must be of that type."""
        push = self.pushes.get(timeout=within_s)
        assert push.type == type_name, push
        return push.body

    def nothing_came(self) -> bool:
        return self.pushes.empty()

    def half_close(self) -> None:
        self._outgoing.put(None)

    def cancel(self) -> None:
        self._call.cancel()

    def join(self) -> None:
        self._reader.join(WITHIN_S)
        assert not self._reader.is_alive()

    def _requests(self) -> Iterator[bytes]:
        yield from iter(self._outgoing.get, None)

    def _read(self) -> None:
        try:
            for message in self._call:
                found = payload.decode(message)
                push = Pushed(found.type, json.loads(found.body))
                if self.answering and push.type not in ("SetupAckRequest", "ConnectResetRequest"):
                    self.answer(push)
                self.pushes.put(push)
            self.status = grpc.StatusCode.OK
        except grpc.RpcError as error:
            self.status = error.code()
        finally:
            self.ended.set()


class Raw:
    """One transport. ``set_up`` opens the stream; ``ask`` is a unary request."""

    def __init__(self, address: str, token: str = "", answering: bool = True) -> None:
        own = ("grpc.use_local_subchannel_pool", 1)
        large = ("grpc.max_receive_message_length", -1)
        self.channel = grpc.insecure_channel(address, options=(own, large))
        self.token = token
        self.stream: Stream
        self._answering = answering
        self._request = self.channel.unary_unary(payload.REQUEST_PATH)

    def __enter__(self) -> Raw:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.channel.close()

    def set_up(self, **fields: Any) -> Raw:
        """As the newest clients do it: with an ability table, and waiting for the answer to it."""
        self.stream = self.open_stream()
        table = {"fuzzyWatch": True, "lock": True}
        labels = {"source": "sdk", "module": "naming", "AppName": "raw"}
        setup = {"clientVersion": "Raw:v1", "tenant": "", "labels": labels, "abilityTable": table, **fields}
        self.stream.send("ConnectionSetupRequest", setup)
        if setup["abilityTable"] is not None:
            self.stream.next("SetupAckRequest")
        return self

    def open_stream(self) -> Stream:
        return Stream(self.channel, self._answering)

    def ask(self, type_name: str, **body: Any) -> dict[str, Any]:
        """The body of the answer, and its type as ``_type``."""
        return self.ask_body(type_name, json.dumps(body).encode())

    def ask_with(self, headers: Mapping[str, str], type_name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.ask_body(type_name, json.dumps(body).encode(), headers)

    def ask_body(
        self, type_name: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        own = {"accessToken": self.token} if self.token else {}
        return self.ask_raw(payload.encode(type_name, body, {**own, **(headers or {})}, "127.0.0.1"))

    def ask_raw(self, message: bytes) -> dict[str, Any]:
        found = payload.decode(self._request(message, timeout=WITHIN_S))
        return {**json.loads(found.body), "_type": found.type}

    # --------------------------------------------------------------------------- short names for the usual

    def register(self, service: str, ip: str, port: int = 80, **instance: Any) -> dict[str, Any]:
        return self.ask(
            "InstanceRequest",
            namespace="public",
            serviceName=service,
            groupName="G",
            type="registerInstance",
            instance={"ip": ip, "port": port, **instance},
        )

    def subscribe(self, service: str, **fields: Any) -> dict[str, Any]:
        asked = {"namespace": "public", "serviceName": service, "groupName": "G", "clusters": "", **fields}
        return self.ask("SubscribeServiceRequest", **{"subscribe": True, **asked})

    def publish(self, data_id: str, content: str, **fields: Any) -> dict[str, Any]:
        return self.ask("ConfigPublishRequest", dataId=data_id, group="G", content=content, **fields)

    def query(self, data_id: str, **fields: Any) -> dict[str, Any]:
        return self.ask("ConfigQueryRequest", dataId=data_id, group="G", **fields)

    def listen(self, data_id: str, md5: str = "", tenant: str = "", listen: bool = True) -> list[Any]:
        context = {"dataId": data_id, "group": "G", "tenant": tenant, "md5": md5}
        answer = self.ask("ConfigBatchListenRequest", listen=listen, configListenContexts=[context])
        assert answer["success"], answer
        changed: list[Any] = answer["changedConfigs"]
        return changed


def hosts(info: Mapping[str, Any]) -> list[str]:
    return sorted(f"{host['ip']}:{host['port']}" for host in info["hosts"])

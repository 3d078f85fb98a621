"""Payloads and bodies of Nacos's gRPC, by libFuzzer's own mutations led by coverage (atheris).

    python -m fuzz.nacos RUNS SEED [FILE ...]          FILE: a case that failed, tried as it is

Rule: every message gets an answer that the table of types documents: the type's own response class, or an ErrorResponse
with one of the codes below. Anything else, an exception above all, ends the run with the case in the text. What a run
leaves behind (registrations, subscriptions, what waits for a client) stays in proportion.

The whole plane is there, on a store in memory, and its clients' calls are stand-ins: a whole message in, a whole message
out. What comes before that, HTTP/2 and the framing of gRPC, has a suite of its own (``fuzz/mutator.py``).
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["atoll.wire.nacos", "atoll.planes.registry.frontends.nacos_grpc"]):
    from atoll.planes.registry.frontends import nacos_grpc  # noqa: F401 - to be instrumented
    from atoll.wire.nacos import payload
    from atoll.wire.nacos.catalog.grpc_types import TYPES

from atoll.errors import AtollError
from atoll.planes.registry.settings import Settings
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.peer import Peer
from atoll.runtime.tasks import Tasks
from atoll.store.memory import open_memory
from tests.conformance.nacos.served import open_node

CORPUS = Path(__file__).parent / "corpus" / "nacos"
CASE_BYTES_MAX = 20_000
CASES_A_CONNECTION = 250
HELD_MAX = 20_000
ANSWERS_WITHIN_S = 20.0
RESIDENT_GROWTH_BYTES_MAX = 512 * 2**20
CONNECTED, UNCONNECTED, STREAM = b"c", b"u", b"s"  # the first byte of a case: which way it goes

CODES = {0, 300, 301, 302, 400, 403, 404, 409, 501, 502, 503, 50_310}
SERVER_ERROR = 500
SERVER_ERRORS = ("Cas publish fail, server md5 may have changed. ",)

WORDS = (
    *TYPES,
    *(
        f'"{name}":'
        for name in ("dataId", "group", "tenant", "serviceName", "groupName", "namespace", "type")
    ),
    '"instance":{"ip":"1.1.1.1","port":80}',
    '"instances":[{"ip":"1.1.1.1","port":80}]',
    '"configListenContexts":[{"dataId":"a","group":"G","md5":""}]',
    '"additionMap":{"betaIps":"127.0.0.1"}',
    '"additionMap":{"type":"json"}',
    '"metadata":{"preserved.heart.beat.timeout":"1"}',
    '"lockInstance":{"key":"k"}',
    "registerInstance",
    "deregisterInstance",
    "batchRegisterInstance",
    "WATCH",
    "public>>*>>*",
    "null",
    "true",
    "1e400",
    "\\\\ud800",
    "@@",
    "65536",
)


VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 65_535, 65_536, 2**31, 2**63, -(2**64), 1e308, 0.5, float("nan")),
    *("", " ", "a", "b", "public", "null", "G", "G@@s", "@@", "a b", "\0", "\u4e00", "\ud800", "x" * 2_000),
    *("*", "public>>*>>a*", "WATCH", "CANCEL_WATCH", "ACQUIRE", "RELEASE", "registerInstance", "127.0.0.1"),
    *("deregisterInstance", "batchRegisterInstance", "json", "{", "{}", "a,b", "1,2", "tag", "-1", "1e9"),
    *([], {}, [[]], {"a": {}}, [None], {"ip": "1.1.1.1", "port": 80}, [{"ip": "1.1.1.1", "port": 1}]),
    *([{"dataId": "a", "group": "G", "md5": "x"}], {"betaIps": "1.1.1.1"}, {"tag": "t"}, {"type": "json"}),
)


class StandIn:
    """As much of a call as handlers use. ``answers`` are whole messages. ``stays``: does not half-close its stream."""

    def __init__(self, connection_id: int, messages: tuple[bytes, ...] = (), *, stays: bool = False) -> None:
        self._stays = stays
        self.connection_id = connection_id
        self.peer = Peer(f"127.0.0.1:{connection_id % 60_000 + 1}", True)
        self.answers: list[bytes] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ended = False
        self.reset_by_peer = True
        self.writable = True
        self._messages = messages
        self._hooks: list[Callable[[], None]] = []

    def reply(self, message: bytes) -> None:
        self.answers.append(message)

    def send_nowait(self, message: bytes) -> bool:
        self.answers.append(message)
        return True

    def fail(self, status: object, text: str) -> None:
        self.finish()

    def fail_error(self, error: AtollError) -> None:
        self.finish()

    def finish(self) -> None:
        self.ended = True

    def cut_connection(self) -> None:
        self.end()

    def on_cancel(self, hook: Callable[[], None]) -> None:
        self._hooks.append(hook)

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def messages(self) -> AsyncIterator[bytes]:
        for message in self._messages:
            yield message
        if self._stays:
            await asyncio.Event().wait()

    def end(self) -> None:
        """The client goes away."""
        self.ended = True
        for task in self.tasks:
            task.cancel()
        for hook in self._hooks:
            hook()


class Target:
    """One node, and one client of it that is replaced now and then."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.outcomes: Counter[str] = Counter()
        self.failed: list[tuple[str, BaseException]] = []
        self._cases = 0
        self._connections = 0
        self._tasks = Tasks(Log("fuzz"), lambda name, error: self.failed.append((name, error)))
        opening = open_node(open_memory(), self._tasks, folder, BootClock(), Settings())
        self._api = self.loop.run_until_complete(opening)[0].nacos_grpc
        self._client: StandIn

    def case(self, data: bytes) -> None:
        if self._cases % CASES_A_CONNECTION == 0:
            self.loop.run_until_complete(self._reconnect())
        self._cases += 1
        way, message = data[:1], data[1:CASE_BYTES_MAX]
        if way == STREAM:
            self.loop.run_until_complete(self._stream(message))
        else:
            self.loop.run_until_complete(self._unary(message, connected=way != UNCONNECTED))
        if self.failed:
            raise AssertionError(f"a background task failed: {self.failed}")

    async def _reconnect(self) -> None:
        if self._connections:
            (own,) = [each for each in self._api.connections if each.stream is self._client]
            if own.pushes.held > HELD_MAX:
                raise AssertionError(f"{own.pushes.held} messages wait for one client")
            self._client.end()
        setup = payload.encode("ConnectionSetupRequest", b'{"labels":{},"abilityTable":{}}')
        self._connections += 1
        self._client = StandIn(self._connections, (setup,), stays=True)
        self._api.routes[payload.STREAM_PATH].handler(self._client)
        while not self._client.answers:
            await asyncio.sleep(0)

    async def _unary(self, message: bytes, *, connected: bool) -> None:
        call = StandIn(self._client.connection_id if connected else 2**40)
        self._api.routes[payload.REQUEST_PATH].handler(call, message)
        for task in call.tasks:
            await asyncio.wait_for(task, ANSWERS_WITHIN_S)
        (answer,) = call.answers
        found = payload.decode(answer)
        self._check(message, found)

    def _check(self, message: bytes, found: payload.Payload) -> None:
        body = json.loads(found.body)
        code, text = body["errorCode"], body.get("message", "")
        self.outcomes[str(code)] += 1
        if None in body.values() or body["success"] is not (body["resultCode"] == 200):
            raise AssertionError(f"{message!r} is answered {body}")
        if code not in CODES and not (code == SERVER_ERROR and text.startswith(SERVER_ERRORS)):
            raise AssertionError(f"{message!r} is answered {code} {text!r}, which is not documented")
        if found.type != "ErrorResponse":
            asked = payload.decode(message).type
            if TYPES[asked].response != found.type:
                raise AssertionError(f"{message!r} is answered in a {found.type}")

    async def _stream(self, message: bytes) -> None:
        """As the first message of a new transport, and as an answer of the client that is there."""
        self._connections += 1
        setup = payload.encode("ConnectionSetupRequest", b'{"abilityTable":{}}')
        for messages in ((message, message), (setup, message)):
            self._connections += 1
            call = StandIn(self._connections, messages)
            self._api.routes[payload.STREAM_PATH].handler(call)
            await asyncio.wait_for(call.tasks[0], ANSWERS_WITHIN_S)
        self.outcomes["stream"] += 1


def mutated(data: bytes, size_max: int, seed: int) -> bytes:
    """libFuzzer's mutation, of the whole message or of the body inside of it."""
    pick = random.Random(seed)
    way, message = data[:1] or CONNECTED, data[1:]
    if pick.random() < 0.2:
        return (way + atheris.Mutate(message, max(size_max - 1, 1)))[:size_max]
    try:
        found = payload.decode(message)
    except payload.PayloadFault:
        return (way + atheris.Mutate(message, max(size_max - 1, 1)))[:size_max]
    name, body = found.type, found.body
    if pick.random() < 0.1:
        name = pick.choice(tuple(TYPES))
    if pick.random() < 0.1:
        way = pick.choice((CONNECTED, UNCONNECTED, STREAM))
    changed = _value_changed(body, pick) if pick.random() < 0.8 else None
    if changed is None:
        changed = atheris.Mutate(body, max(size_max - 200, 1))
    return (way + payload.encode(name, changed, found.headers, found.client_ip))[:size_max]


def _value_changed(body: bytes, pick: random.Random) -> bytes | None:
    """One value of the JSON, however deep, set to something at its limit; None: it is no JSON object."""
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        return None
    places = list(_places(whole))
    if not places:
        return None
    holder, name = pick.choice(places)
    alike = [value for value in VALUES if type(value) is type(holder[name])]
    holder[name] = pick.choice(alike if alike and pick.random() < 0.8 else VALUES)
    return json.dumps(whole, ensure_ascii=pick.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in list(items):
        yield value, name
        yield from _places(inner)


def seeds(folder: Path) -> None:
    """The corpus as libFuzzer takes it: with the byte that says which way."""
    for file in sorted(CORPUS.glob("*.bin")):
        way = STREAM if file.name.startswith("stream.") else CONNECTED
        (folder / file.stem).write_bytes(way + file.read_bytes())


def main(arguments: list[str]) -> None:
    runs, seed, files = int(arguments[0]), arguments[1], arguments[2:]
    with tempfile.TemporaryDirectory(prefix="fuzz-nacos-") as name:
        folder = Path(name)
        for part in ("seeds", "data"):
            (folder / part).mkdir()
        seeds(folder / "seeds")
        words = folder / "words"
        words.write_text("".join(f'"{word.replace(chr(34), chr(92) + chr(34))}"\n' for word in WORDS))
        target = Target(folder / "data")
        if files:
            for file in files:
                target.case(Path(file).read_bytes())
            return
        before_bytes = resident_bytes()
        count = 0

        def one(data: bytes) -> None:
            nonlocal count
            target.case(data)
            count += 1
            if count == runs:
                grown = resident_bytes() - before_bytes
                if grown > RESIDENT_GROWTH_BYTES_MAX:
                    raise AssertionError(f"{runs} cases left {grown} bytes more resident")
                print(json.dumps({"outcomes": target.outcomes}), flush=True)

        options = [f"-runs={runs}", f"-seed={seed}", f"-dict={words}", f"-max_len={CASE_BYTES_MAX}"]
        options += ["-print_final_stats=0", "-verbosity=0", f"-artifact_prefix={folder}/", "-timeout=60"]
        atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], one, custom_mutator=mutated)
        atheris.Fuzz()


def resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1:])

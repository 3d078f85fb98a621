"""Fuzzy watches over gRPC: clients that want to hear which services or items come and go under a pattern.

Rule: a new watch is first told what is there and what it wrongly believes to be there, in batches, then that this was
all; afterwards each service or item by itself, the last word about it only. Whoever may not read a thing does not hear
of it.

Source: Nacos 3.0. A pattern is ``namespace>>group>>name``; an item is called ``dataId+group+tenant`` (``+`` and ``%``
escaped), a service ``namespace@@group@@service``. The ability ``fuzzyWatch`` announces it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from atoll.access import grants
from atoll.access.grants import Resource
from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.nacos_grpc import pushes
from atoll.planes.registry.frontends.nacos_grpc.config import resource as config_resource
from atoll.planes.registry.frontends.nacos_grpc.connections import Connection
from atoll.planes.registry.frontends.nacos_grpc.dispatch import Asked, Handler
from atoll.planes.registry.frontends.nacos_grpc.naming import resource as service_resource
from atoll.planes.registry.frontends.nacos_grpc.pushes import Message, Outcome
from atoll.planes.registry.model.config_patterns import Came, Pattern
from atoll.planes.registry.policy.fuzzy import SEPARATOR
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.fuzzy_watches import Notice
from atoll.planes.registry.service.guard import Guard
from atoll.planes.registry.service.naming import Naming
from atoll.resources.config_item import ConfigKey
from atoll.resources.service import ServiceKey
from atoll.runtime.clock import Clock
from atoll.wire.nacos import answers, parameters, requests

WATCH = "WATCH"
CANCEL = "CANCEL_WATCH"
BATCH_MAX = 20
RECEIVED_MAX = 10_000
PATTERNS_OVER_LIMIT = 50_310
INIT = "FUZZY_WATCH_INIT_NOTIFY"
INIT_END = "FINISH_FUZZY_WATCH_INIT_NOTIFY"
DIFFERENCE = "FUZZY_WATCH_DIFF_SYNC_NOTIFY"


class FuzzyHandlers:
    def __init__(self, naming: Naming, configs: Configs, guard: Guard, clock: Clock) -> None:
        self._naming = naming
        self._configs = configs
        self._guard = guard
        self._clock = clock
        self.now: Mapping[str, Handler] = {
            "ConfigFuzzyWatchRequest": _limited(self.configs),
            "NamingFuzzyWatchRequest": _limited(self.services),
        }

    # ------------------------------------------------------------------------------------ configuration

    def configs(self, asked: Asked, request: requests.ConfigFuzzyWatchRequest) -> bytes:
        asked.guard.require_known(asked.principal)
        text = request.group_key_pattern or ""
        pattern = config_pattern(text)
        connection = asked.connection
        if _cancels(request):
            self._configs.fuzzy_unwatch(connection.id, pattern)
            return answers.SUCCESS
        there = self._configs.fuzzy_watch(connection.id, pattern, self._config_teller(connection, text))
        readable = [key for key in there if self._may(connection, config_resource(key))]
        contexts = [
            answers.ConfigFuzzyWatchContext(name, f"{change}_CONFIG")
            for name, change in _differences(map(config_name, readable), request.received_group_keys)
        ]
        for batch in _batches(text, contexts, request.initializing):
            self._offer(connection, pushes.CONFIG_FUZZY_SYNC, batch, answers.ConfigFuzzyWatchSyncRequest)
        return answers.SUCCESS

    def _config_teller(self, connection: Connection, text: str) -> Callable[[Pattern, Came], None]:
        def tell(_pattern: Pattern, came: Came) -> None:
            change = "DELETE_CONFIG" if came.gone else "ADD_CONFIG"
            request = answers.ConfigFuzzyWatchChangeNotifyRequest(config_name(came.key), change)

            def body() -> bytes | None:
                return answers.encode(request) if self._may(connection, config_resource(came.key)) else None

            message = Message(pushes.CONFIG_FUZZY_CHANGED, ("fuzzy", text, came.key), body)
            connection.pushes.offer(message, self._clock.now_s())

        return tell

    # -------------------------------------------------------------------------------------------- naming

    def services(self, asked: Asked, request: requests.NamingFuzzyWatchRequest) -> bytes:
        asked.guard.require_known(asked.principal)
        text = request.group_key_pattern or ""
        connection = asked.connection
        if _cancels(request):
            self._naming.fuzzy_unwatch(connection.id, text)
            return answers.SUCCESS
        there = self._naming.fuzzy_watch(connection.id, text, self._service_teller(connection, text))
        readable = [key for key in there if self._may(connection, service_resource(key))]
        contexts = [
            answers.NamingFuzzyWatchContext(name, f"{change}_SERVICE")
            for name, change in _differences(map(service_name, readable), request.received_group_keys)
        ]
        for batch in _batches(text, contexts, request.initializing):
            self._offer(connection, pushes.NAMING_FUZZY_SYNC, batch, answers.NamingFuzzyWatchSyncRequest)
        return answers.SUCCESS

    def _service_teller(self, connection: Connection, text: str) -> Callable[[Notice], None]:
        def tell(notice: Notice) -> None:
            left = set(notice.changes)

            def ended_with(key: ServiceKey) -> Callable[[Outcome], None]:
                def ended(_outcome: Outcome) -> None:
                    left.discard(key)
                    if not left:
                        notice.acknowledged()

                return ended

            now_s = self._clock.now_s()
            for key, exists in notice.changes.items():
                body = self._service_body(connection, key, exists)
                name = ("fuzzy", text, key)
                message = Message(pushes.NAMING_FUZZY_CHANGED, name, body, ended_with(key))
                connection.pushes.offer(message, now_s)

        return tell

    def _service_body(
        self, connection: Connection, key: ServiceKey, exists: bool
    ) -> Callable[[], bytes | None]:
        change = "ADD_SERVICE" if exists else "DELETE_SERVICE"
        request = answers.NamingFuzzyWatchChangeNotifyRequest(service_name(key), change)

        def body() -> bytes | None:
            return answers.encode(request) if self._may(connection, service_resource(key)) else None

        return body

    # -------------------------------------------------------------------------------------------- inside

    def _may(self, connection: Connection, resource: Resource) -> bool:
        return self._guard.allows(connection.principal, resource, grants.READ)

    def _offer(
        self, connection: Connection, kind: pushes.Kind, batch: _Batch, request: Callable[..., Any]
    ) -> None:
        encoded = answers.encode(request(*batch))
        name = ("fuzzy batch", kind.name, batch[0], batch[2], batch[4])
        connection.pushes.offer(Message(kind, name, lambda: encoded), self._clock.now_s())


def _limited(watch: Handler) -> Handler:
    """A pattern too many has an error code of its own."""

    def limited(asked: Asked, request: Any) -> bytes:
        try:
            return watch(asked, request)
        except AtollError as error:
            if error.code is not Code.EXHAUSTED:
                raise
            return answers.failure(PATTERNS_OVER_LIMIT, error.message)

    return limited


_Batch = tuple[str, Sequence[Any], str, int, int]
"""Pattern, contexts, kind of synchronisation, how many batches, the number of this one."""


def config_pattern(text: str) -> Pattern:
    """Raises INVALID."""
    parts = text.split(SEPARATOR)
    if len(parts) != 3 or not all(parts[1:]):
        raise _no_pattern(text)
    return Pattern(parameters.namespace(parts[0]), parts[1], parts[2])


def config_name(key: ConfigKey) -> str:
    return "+".join(_escaped(part) for part in (key.data_id, key.group, key.namespace))


def service_name(key: ServiceKey) -> str:
    return f"{key.namespace}@@{key.group}@@{key.name}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("+", "%2B")


def _cancels(request: requests.ConfigFuzzyWatchRequest | requests.NamingFuzzyWatchRequest) -> bool:
    kind = request.watch_type or WATCH
    if kind not in (WATCH, CANCEL):
        raise parameters.invalid("watchType", f"watchType {kind!r} is none; expected {WATCH} or {CANCEL}")
    if len(request.received_group_keys or ()) > RECEIVED_MAX:
        raise parameters.invalid("receivedGroupKeys", f"more than {RECEIVED_MAX} receivedGroupKeys")
    return kind == CANCEL


def _differences(there: Iterable[str], received: list[str] | None) -> list[tuple[str, str]]:
    """What is there and was not received, and the other way round."""
    believed = dict.fromkeys(received or ())
    present = dict.fromkeys(there)
    found = [(name, "ADD") for name in present if name not in believed]
    return found + [(name, "DELETE") for name in believed if name not in present]


def _batches(text: str, contexts: Sequence[Any], initializing: bool) -> list[_Batch]:
    kind = INIT if initializing else DIFFERENCE
    parts = [contexts[at : at + BATCH_MAX] for at in range(0, len(contexts), BATCH_MAX)]
    found: list[_Batch] = [(text, part, kind, len(parts), at) for at, part in enumerate(parts, 1)]
    if initializing:
        found.append((text, (), INIT_END, 0, 0))
    return found


def _no_pattern(text: str) -> AtollError:
    expected = "NAMESPACE>>GROUP>>DATA_ID, where GROUP and DATA_ID may have a * for any text"
    return parameters.invalid("groupKeyPattern", f"{text[:100]!r} is no pattern; expected {expected}")

"""One request: its parameters by name, who asks, and what it names.

Rule: what a request names (namespace, group, item, service) is read in one place, here, so that the permission that
was checked and the thing that is touched cannot be two different ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atoll.access.grants import Resource, config, service
from atoll.planes.registry.service.guard import NOBODY
from atoll.resources.actor import Actor
from atoll.resources.config_item import ConfigKey
from atoll.resources.service import ServiceKey
from atoll.wire.nacos import form, parameters
from atoll.wire.nacos.catalog.entry import Entry, Envelope

VIA = "nacos-http"
PAGE_SIZE_MAX = 500

Headers = Sequence[tuple[bytes, bytes]]


class Call:
    """``fields`` are query and form together; ``body`` is what else was sent. ``peer``: address and port."""

    __slots__ = (
        "body",
        "entry",
        "fields",
        "files",
        "headers",
        "held_bytes",
        "node",
        "path",
        "peer",
        "principal",
    )

    def __init__(self, entry: Entry, path: str, headers: Headers, peer: tuple[str, int]) -> None:
        self.entry = entry
        self.path = path
        self.headers = headers
        self.peer = peer
        self.fields: dict[str, str] = {}
        self.files: Mapping[str, form.Upload] = {}
        self.body = b""
        self.held_bytes = 0  # of the body, as long as the call is under way
        self.principal = NOBODY
        self.node = ""

    # ------------------------------------------------------------------------------------------ parameters

    def text(self, name: str, default: str = "") -> str:
        return self.fields.get(name, default)

    def first(self, *names: str) -> str:
        """The first of several spellings of one parameter that says something."""
        for name in names:
            value = self.fields.get(name)
            if value:
                return value
        return ""

    def required(self, name: str) -> str:
        """Raises INVALID / PARAMETER_MISSING."""
        value = self.fields.get(name, "")
        if not value:
            raise parameters.missing(name)
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.fields.get(name, "")
        return parameters.boolean(value) if value else default

    def integer(self, name: str, default: int) -> int:
        value = self.fields.get(name, "")
        return parameters.integer(name, value) if value else default

    def page(self, size_default: int = 20) -> tuple[int, int]:
        """``(page, size)``; pages count from 1."""
        return parameters.page(self.text("pageNo"), self.text("pageSize"), size_default, PAGE_SIZE_MAX)

    def header(self, name: bytes, default: str = "") -> str:
        """``name`` in lower case, as h11 gives it."""
        for found, value in self.headers:
            if found == name:
                return value.decode("latin-1")
        return default

    # --------------------------------------------------------------------------------------------- what

    @property
    def is_result(self) -> bool:
        """The API v2 or v3."""
        return self.entry.envelope is Envelope.RESULT

    @property
    def tenant(self) -> str:
        """The namespace as the client spells it."""
        return self.first("namespaceId", "tenant", "namespace")

    @property
    def namespace(self) -> str:
        """The namespace's canonical name."""
        return parameters.namespace(self.tenant)

    @property
    def group(self) -> str:
        return parameters.group(self.first("groupName", "group"))

    def config_key(self) -> ConfigKey:
        return ConfigKey(self.namespace, self._config_group(), parameters.data_id(self.text("dataId")))

    def _config_group(self) -> str:
        """Configuration has no default group over HTTP: the reference asks for it."""
        name = self.first("groupName", "group")
        if not name:
            raise parameters.missing("groupName" if "/v3/" in self.path else "group")
        return parameters.group(name)

    def service_key(self) -> ServiceKey:
        group, name = parameters.service(self.text("serviceName"), self.text("groupName"))
        return ServiceKey(self.namespace, group, name)

    def resource(self, kind: str) -> Resource:
        """What the request names, for the permission; what it does not name is ``*``, anything of that kind."""
        if kind == "config":
            return config(self.namespace, self.first("groupName", "group") or "*", self.text("dataId") or "*")
        if not self.text("serviceName"):
            return service(self.namespace, self.text("groupName") or "*", "*")
        key = self.service_key()
        return service(key.namespace, key.group, key.name)

    # ---------------------------------------------------------------------------------------------- who

    @property
    def actor(self) -> Actor:
        return Actor(self.principal.name, self.peer[0], VIA, self.node)

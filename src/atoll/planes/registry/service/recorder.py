"""What the services tell of themselves, written into the journal: the wiring between naming, configuration and it.

Rule: only what costs a few microseconds happens here, because all of it happens beside the work that it tells of. A digest
of a list is computed once for each list that is pushed, never for each subscriber or change.

Who asks over HTTP has no connection to be known by: such clients are ``http-ADDRESS``, all of one address together.
"""

from __future__ import annotations

import hashlib

import msgspec

from atoll.access import grants
from atoll.planes.registry.model.directory import ServiceState
from atoll.planes.registry.model.naming import Hosts
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.journal import Instances, Journal
from atoll.planes.registry.service.naming import Naming
from atoll.planes.registry.service.pushes import PushEvent
from atoll.resources.config_item import ConfigKey
from atoll.resources.config_views import Changed
from atoll.resources.instance import InstanceId
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey

DIGEST_CHARS = 16
DIGESTS_KEPT_MAX = 10_000


class Recorder:
    """Listens from the moment it is made."""

    def __init__(self, journal: Journal, naming: Naming, configs: Configs) -> None:
        self._journal = journal
        self._naming = naming
        self._configs = configs
        self._digests: dict[ServiceKey, tuple[Hosts, str]] = {}
        naming.on_client.append(self._client)
        naming.pushes.on_event.append(self._push)
        naming.directory.on_instance = self._instance
        configs.on_listen.append(self._listening)
        configs.on_told.append(self._told)
        configs.observers.append(self._config)

    def instances(self) -> Instances:
        """Everything that this node knows now, as the journal writes it down once an hour."""
        return {
            service_subject(key): {instance_name(each.id): msgspec.to_builtins(each) for each in found}
            for key, state in self._naming.directory.services.items()
            if (found := state.instances())
        }

    def _client(self, client: Client, came: bool) -> None:
        if came:
            told = (client.address, client.app, client.version, client.user and f"user {client.user}")
            self._journal.client_connected(client.id, ", ".join(filter(None, told)))
        else:
            self._journal.client_gone(client.id, "")

    def _push(self, event: PushEvent) -> None:
        subject, digest = service_subject(event.info.key), self._digest(event.info.key, event.info.selected)
        match event.kind:
            case "subscribed":
                self._journal.subscribed(event.client, subject, digest)
            case "pushed":
                self._journal.pushed(event.client, subject, digest)
            case "acknowledged":
                self._journal.acknowledged(event.client, subject, digest)
            case _:
                self._journal.push_failed(event.client, subject, digest, event.kind)

    def _instance(self, state: ServiceState, identity: InstanceId) -> None:
        self._journal.instance(service_subject(state.key), instance_name(identity), state.instance(identity))

    def _listening(self, client: str, key: ConfigKey, md5: str) -> None:
        self._journal.subscribed(stable(client), config_subject(key), md5)

    def _told(self, client: str, told: Changed) -> None:
        self._journal.pushed(stable(client), config_subject(told.key), told.md5)

    def _config(self, changed: Changed) -> None:
        item = self._configs.item(changed.key)
        detail = f"revision {changed.revision}"
        if item is not None:
            by = f"by {item.user or 'somebody without an account'} from {item.address or 'no address'}"
            detail = f"published {by}, revision {changed.revision}"
        for release in self._configs.grays(changed.key):
            detail += f"; release {release.name} has {release.md5}"
        self._journal.changed(config_subject(changed.key), changed.md5, detail)

    def _digest(self, key: ServiceKey, hosts: Hosts) -> str:
        kept = self._digests.get(key)
        if kept is not None and kept[0] is hosts:
            return kept[1]
        digest = hashlib.sha256(msgspec.json.encode(hosts.hosts)).hexdigest()[:DIGEST_CHARS]
        if len(self._digests) >= DIGESTS_KEPT_MAX:
            self._digests.clear()
        self._digests[key] = (hosts, digest)
        return digest


def service_subject(key: ServiceKey) -> str:
    return str(grants.service(key.namespace, key.group, key.name))


def config_subject(key: ConfigKey) -> str:
    return str(grants.config(key.namespace, key.group, key.data_id))


def instance_name(identity: InstanceId) -> str:
    return f"{identity.ip}:{identity.port}:{identity.cluster}"


def stable(client: str) -> str:
    """``http-ADDRESS`` for one of many requests from there."""
    return client.rpartition(":")[0] if client.startswith("http-") else client

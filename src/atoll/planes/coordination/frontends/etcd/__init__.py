"""etcd's v3 gRPC API, with the behaviour of 3.4, over an embedded store.

One rule: clients get the store's *public* side only: the reserved prefix, where the planes keep their data, does
not exist for them. What differs from etcd is in docs/reference/etcd-api.md, claimed from conformance results.

    api = await open_api(store, Settings(client_urls=("http://127.0.0.1:2379",)), BootClock())
    server = GrpcServer(api.routes, errors=api.errors, clock=clock, limits=api.limits)
    tasks.start("etcd watch progress", api.report_progress())
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.errors import AtollError, Code, Reason
from atoll.planes.coordination.frontends.etcd import errors
from atoll.planes.coordination.frontends.etcd.auth import Auth
from atoll.planes.coordination.frontends.etcd.cluster import Cluster
from atoll.planes.coordination.frontends.etcd.election import Election
from atoll.planes.coordination.frontends.etcd.gate import Gate
from atoll.planes.coordination.frontends.etcd.kv import Kv
from atoll.planes.coordination.frontends.etcd.lease import Lease
from atoll.planes.coordination.frontends.etcd.lock import Lock
from atoll.planes.coordination.frontends.etcd.maintenance import Maintenance
from atoll.planes.coordination.frontends.etcd.node import Identity, Node
from atoll.planes.coordination.frontends.etcd.watch import PROGRESS_INTERVAL_S, Watches
from atoll.runtime import loop
from atoll.runtime.clock import Clock
from atoll.runtime.grpc_call import ErrorTable
from atoll.runtime.grpc_call import Limits as GrpcLimits
from atoll.runtime.grpc_server import Route
from atoll.runtime.rng import system_rng
from atoll.store import api
from atoll.store.accounts import AccountsTable, open_embedded
from atoll.store.embedded import Embedded
from atoll.store.shell import StoreShell

MESSAGE_OVERHEAD_BYTES = 524_288
"""What etcd lets a gRPC message have above the limit of a request."""
IDENTITY_NOTE = "etcd-identity"
ID_BITS = 63


class Settings(msgspec.Struct, frozen=True):
    """``limits`` must be those the store was opened with."""

    client_urls: tuple[str, ...] = ()
    name: str = "atoll"
    limits: api.Limits = api.Limits()
    progress_interval_s: float = PROGRESS_INTERVAL_S


class EtcdApi:
    """What a listener needs to serve the API; ``report_progress`` runs beside it until it is cancelled."""

    def __init__(self, store: Embedded, settings: Settings, node: Node, auth: Auth, watches: Watches) -> None:
        self._watches = watches
        self._settings = settings
        self.identity = node.identity
        self.routes: Mapping[str, Route] = {
            **Kv(node).routes(),
            **self._watches.routes(),
            **Lease(node).routes(),
            **Lock(node).routes(),
            **Election(node).routes(),
            **Maintenance(node, store).routes(),
            **Cluster(node).routes(),
            **auth.routes(),
        }
        self.errors: ErrorTable = errors.status_of
        self.limits = GrpcLimits(message_bytes_max=settings.limits.request_bytes_max + MESSAGE_OVERHEAD_BYTES)

    async def report_progress(self) -> None:
        """Tell quiet watches that asked for it how far they are, for ever."""
        while True:
            await loop.sleep(self._settings.progress_interval_s)
            self._watches.report_progress()


async def open_api(
    store: Embedded, settings: Settings, clock: Clock, accounts: AccountsTable | None = None
) -> EtcdApi:
    """The API over ``store``. ``accounts``: the table that others use too; None: one that only this API uses. Raises
    CORRUPT or NEWER_FORMAT where the store's accounts cannot be read.
    """
    table = accounts or open_embedded(store)
    driver = store.public_driver()
    gate = Gate(driver, settings.limits, clock)
    table.follow(gate.take)
    node = Node(await _identity(store, settings), gate, StoreShell(driver))
    return EtcdApi(store, settings, node, Auth(node, table, clock), Watches(node, driver))


class _Ids(msgspec.Struct, frozen=True):
    """Who a store is, for as long as it lives."""

    format: int
    cluster_id: int
    member_id: int


async def _identity(store: Embedded, settings: Settings) -> Identity:
    kept = store.note(IDENTITY_NOTE)
    if kept is None:
        rng = system_rng()
        ids = _Ids(1, rng.getrandbits(ID_BITS) | 1, rng.getrandbits(ID_BITS) | 1)
        await _keep(store, msgspec.json.encode(ids))
    else:
        try:
            ids = msgspec.json.decode(kept, type=_Ids)
        except msgspec.MsgspecError as error:
            text = f"the store's note {IDENTITY_NOTE!r} cannot be read: {error}"
            raise AtollError(Code.INVALID, text, reason=Reason.CORRUPT) from error
    return Identity(ids.cluster_id, ids.member_id, settings.name, client_urls=settings.client_urls)


async def _keep(store: Embedded, value: bytes) -> None:
    kept: loop.Future[api.Outcome] = loop.new_future()
    store.put_note(IDENTITY_NOTE, value, loop.call_from_thread(kept.set_result))
    outcome = await kept
    if isinstance(outcome, AtollError):
        raise outcome

"""The node and its cluster, as Nacos's operations pages, probes and old clients ask for them.

Rule: what is shown is true of this cluster; what only Nacos has (Raft groups, its ports) is shown empty, never made up.
Who lists the members of a cluster finds every node that has a record in the store.

Source: Nacos 2.4.3 and 3.1, ``CoreOpsController``, ``NacosClusterController``, ``ServerStateController``, and the module
``nacos-address``.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code
from atoll.planes.registry.frontends.nacos_http import answer
from atoll.planes.registry.frontends.nacos_http.answer import Bare
from atoll.planes.registry.frontends.nacos_http.application import Operation
from atoll.planes.registry.frontends.nacos_http.call import Call
from atoll.planes.registry.service.registry import Registry
from atoll.runtime.metrics import CONTENT_TYPE
from atoll.store.peers import Member
from atoll.wire.nacos import parameters

VERSION = "2.4.3"
"""The release of Nacos whose behaviour clients may count on; some of them look at it."""
CONTENT_BYTES_MAX = 10_485_760


class Core:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def operations(self) -> dict[str, Operation]:
        return {
            "cluster.nodes": self.nodes,
            "cluster.self": self.this_node,
            "cluster.addresses": self.addresses,
            "cluster.health": self.cluster_health,
            "address.list": self.address_list,
            "server.state": self.state,
            "server.text": self.text,
            "health.live": self.live,
            "health.ready": self.ready,
            "health.server": self.naming_health,
            "config.health": self.config_health,
            "actuator.health": self.actuator_health,
            "metrics.scrape": self.scrape,
            "ops.log": self.nothing_to_do,
            "ops.reload": self.nothing_to_do,
        }

    # ------------------------------------------------------------------------------------------ members

    def nodes(self, call: Call) -> Any:
        """``keyword`` or ``address`` and ``state`` choose."""
        wanted, state = call.first("keyword", "address"), call.text("state").upper()
        found = [each for each in self._registry.peers.members() if wanted in _address(each)]
        return [_member(each, self._registry.clock.wall_s()) for each in found if state in ("", "UP")]

    def this_node(self, call: Call) -> Any:
        mine = self._registry.peers.node_id
        for each in self._registry.peers.members():
            if each.node == mine:
                return _member(each, self._registry.clock.wall_s())
        raise AtollError(Code.UNAVAILABLE, "this node has no record yet", retry_after_s=1.0)

    def addresses(self, call: Call) -> Any:
        return [_address(each) for each in self._registry.peers.members()]

    def cluster_health(self, call: Call) -> str:
        return "UP"

    def address_list(self, call: Call) -> str:
        """A line for each node, for clients that look their servers up."""
        return "".join(f"{_address(each)}\n" for each in self._registry.peers.members() if each.nacos)

    # ------------------------------------------------------------------------------------------- health

    def live(self, call: Call) -> str:
        return "ok" if call.is_result else "OK"

    def ready(self, call: Call) -> Any:
        """Reads and ephemeral instances are served without the store, so a node is ready as soon as it answers."""
        return "ok" if call.is_result else "OK"

    def naming_health(self, call: Call) -> Bare:
        count = len(self._registry.naming.directory.services)
        return answer.json({"msg": f"Hello! I am Nacos-Naming and healthy! total services: {count}"})

    def config_health(self, call: Call) -> str:
        return "DOWN:the store is away" if self._registry.naming.stale else "UP"

    def actuator_health(self, call: Call) -> Any:
        return {"status": "UP"}

    def scrape(self, call: Call) -> Bare:
        return Bare(self._registry.metrics.text(), CONTENT_TYPE.encode())

    # -------------------------------------------------------------------------------------------- state

    def state(self, call: Call) -> Any:
        """All values are texts, as the reference has them."""
        guard, accounts = self._registry.guard, self._registry.accounts
        alone = len(self._registry.peers.members()) < 2
        return {
            "version": VERSION,
            "standalone_mode": "standalone" if alone else "cluster",
            "function_mode": None,
            "startup_mode": "standalone" if alone else "cluster",
            "server_port": self._port(),
            "auth_enabled": _text(guard.enabled),
            "auth_system_type": "nacos",
            "auth_admin_request": _text(guard.enabled and not accounts.has_administrator()),
            "login_page_enabled": _text(guard.enabled),
            "console_ui_enabled": "false",
            "datasource_platform": "",
            "max_content": str(CONTENT_BYTES_MAX),
            "config_retention_days": "30",
        }

    def _port(self) -> str:
        mine = [each for each in self._registry.peers.members() if each.node == self._registry.peers.node_id]
        return mine[0].nacos.rpartition(":")[2] if mine else ""

    def text(self, call: Call) -> str:
        """There is neither an announcement nor a guide."""
        return ""

    def nothing_to_do(self, call: Call) -> Any:
        """For what the reference does and this has no need of; the catalog says why."""
        return "ok"


def _text(value: bool) -> str:
    return "true" if value else "false"


def _address(member: Member) -> str:
    return member.nacos or member.node


def _member(member: Member, now_s: float) -> dict[str, Any]:
    host, _, port = _address(member).rpartition(":")
    return {
        "ip": host.strip("[]") or member.node,
        "port": parameters.integer("port", port) if port.isdigit() else 0,
        "state": "UP",
        "extendInfo": {
            "lastRefreshTime": int(now_s * 1000),
            "nodeId": member.node,
            "release": member.release,
            "raftMetaData": {"metaDataMap": {}},
            "readyToUpgrade": True,
            "version": VERSION,
        },
        "address": _address(member),
        "failAccessCnt": 0,
        "abilities": {
            "remoteAbility": {"supportRemoteConnection": True, "grpcReportEnabled": True},
            "configAbility": {"supportRemoteMetrics": False},
            "namingAbility": {"supportJraft": False},
        },
        "grpcReportEnabled": True,
    }

"""The node's own certificate, with which it serves xDS and enrolment by token: made by its own intermediate.

Rule: its key lives in memory and is new with every certificate. It is exchanged when half of its life is over and whenever the
intermediate or the roots change; connections that are there go on, those that begin get the new one. Besides its SPIFFE id it
has host names, because gRPC's own xDS client checks one.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.errors import AtollError, Code
from atoll.planes.mesh.model.authority_view import trusted
from atoll.planes.mesh.service.identity.intermediate import NodeIntermediate
from atoll.planes.mesh.service.identity.records import Records
from atoll.resources.mesh.clients import spiffe_id
from atoll.resources.mesh.secrets import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from atoll.runtime import keys, tls
from atoll.runtime.clock import Clock
from atoll.runtime.tls import Credentials, ServerTls
from atoll.wire.x509 import certificates, requests
from atoll.wire.x509.certificates import Profile

TTL_S = 86_400.0


class NodeServer:
    """``tls`` is for the listener; it answers no handshake while this node cannot sign."""

    def __init__(
        self, records: Records, intermediate: NodeIntermediate, hosts: Sequence[str], clock: Clock
    ) -> None:
        self.tls = ServerTls()
        self._records = records
        self._intermediate = intermediate
        self._hosts = tuple(dict.fromkeys(hosts))
        self._clock = clock
        self._made_from = ""
        self._renew_s = 0.0

    def keep(self) -> None:
        """Exchange the certificate where that is due."""
        roots = self._records.view.roots
        if roots is None:
            return
        try:
            issuer = self._intermediate.issuer()
        except AtollError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
            return
        now_s = self._clock.wall_s()
        made_from = trusted(roots) + issuer.certificate
        if made_from == self._made_from and now_s < self._renew_s:
            return
        key = keys.new_private_key()
        identity = spiffe_id(roots.trust_domain, CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT)
        profile = Profile(keys.new_serial(), now_s, TTL_S, uri=identity, hosts=self._hosts)
        leaf = certificates.sign(issuer, requests.private_key(key).public_key(), profile)
        chain = leaf + issuer.certificate
        self.tls.replace(tls.mesh_server(Credentials(trusted(roots), chain, key)))
        self._made_from = made_from
        self._renew_s = (now_s + certificates.read(leaf).not_after_s) / 2

"""Identities of workloads as the node's API takes and gives them: enrolment, bundles, join tokens. Never stored.

Rule: a private key is in none of these. What a client *asks* for (``EnrolOrder``) is never believed: the node decides by
how the client proved itself (join token, uid of a Unix socket's peer, or its present certificate), and what it grants is
in ``Issued``. Times are Unix seconds; durations are what a client whose clock is wrong can still go by.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING

CSR_BYTES_MAX = 16_384
ENROL_PATH = "/v1/mesh/identity/enrol"
BUNDLE_PATH = "/v1/mesh/identity/bundle"
BUNDLES_PATH = "/v1/mesh/identity/bundles"


class EnrolOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sign ``csr`` (PEM) for a workload of the service. ``token``: a join token, where neither the peer's uid nor its
    certificate says who it is. ``bundle``: the version of the roots that the workload trusts already. ``replaces``: the
    serial of the certificate that this one takes the place of. ``ttl_s`` 0: as long as the node gives.
    """

    service: str
    namespace: str
    csr: str
    instance: str = ""
    token: str = ""
    bundle: str = ""
    replaces: str = ""
    ttl_s: float = 0.0


class Bundle(msgspec.Struct, frozen=True):
    """Whom to trust: ``roots`` (PEM) of this trust domain, and of ``foreign`` ones by their names; a root vouches for no
    other domain than its own. ``control_plane``: the SPIFFE id of the nodes. ``renew_before_s``: whoever has a certificate
    from before then is to renew it now.
    """

    version: str
    trust_domain: str
    roots: str
    control_plane: str
    foreign: Mapping[str, str] = NOTHING
    renew_before_s: float = 0.0


class Issued(msgspec.Struct, frozen=True):
    """``chain``: the certificate and its intermediates (PEM). ``ttl_s``: from now; renew when half of it is over."""

    spiffe_id: str
    chain: str
    serial: str
    issued_s: float
    not_after_s: float
    ttl_s: float
    bundle: Bundle

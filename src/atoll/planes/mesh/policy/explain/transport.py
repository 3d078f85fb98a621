"""Whether the TLS of a filter chain takes the caller.

Rule: only what a chain demands is checked: a certificate at all, and names that it must have. That the certificate is
valid is what the question's ``principal`` says.
"""

from __future__ import annotations

from typing import Any

from atoll.planes.mesh.policy.explain import extensions, matching
from atoll.planes.mesh.policy.explain.facts import Facts


def refusal(chain: Any, facts: Facts) -> str:
    """Why the handshake fails; empty: it does not."""
    context = extensions.unpacked(chain.transport_socket.typed_config)
    if context is None:
        return ""
    if not facts.tls:
        return "the filter chain speaks TLS and the caller plain text"
    if context.require_client_certificate.value and not facts.principal:
        return "the filter chain wants a client certificate and the caller has none"
    names = _names(context.common_tls_context)
    if names and facts.principal and not any(_fits(each, facts.principal) for each in names):
        return f"the caller's certificate for {facts.principal} has none of the names that are let in"
    return ""


def _names(common: Any) -> list[Any]:
    kind = common.WhichOneof("validation_context_type")
    if kind == "validation_context":
        return list(common.validation_context.match_typed_subject_alt_names)
    if kind == "combined_validation_context":
        default = common.combined_validation_context.default_validation_context
        return list(default.match_typed_subject_alt_names)
    return []


def _fits(wanted: Any, principal: str) -> bool:
    return matching.string(wanted.matcher, f"spiffe://{principal}")

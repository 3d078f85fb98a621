"""Why a request goes where it goes: Envoy's decisions, made again over the configuration that it was, or will be, given.

Rule: it reads the *compiled* messages, never the documents: what is explained is what the proxy does, also where the
compiler is wrong; so a config dump of a running proxy is explained by the same code. ``tests/conformance/mesh`` holds it
against the access log of a real Envoy.

Doubt: it knows what the control plane told, not what a proxy found out by itself since (ejected endpoints, open circuit
breakers, spent rate limits); each of those is told as something that may happen.
"""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code
from atoll.planes.mesh.policy.explain import chains, extensions, http, streams, transport
from atoll.planes.mesh.policy.explain.config import Config
from atoll.planes.mesh.policy.explain.facts import Facts, of_request
from atoll.planes.mesh.policy.explain.matching import Unclear
from atoll.planes.mesh.policy.explain.trail import Trail
from atoll.resources.mesh.explanations import Explanation, Outcome, Request, Stage

_MANAGER = "http_connection_manager.v3.HttpConnectionManager"


def explain(config: Config, request: Request) -> Explanation:
    """What becomes of ``request``. Raises INVALID where it depends on something that is not modelled or not asked."""
    trail = Trail(config)
    try:
        return _explain(trail, request)
    except Unclear as unclear:
        seen = "; ".join(f"{step.stage} {step.name}" for step in trail.steps)
        text = f"this cannot be explained: {unclear.what}{f' (so far: {seen})' if seen else ''}"
        raise AtollError(Code.INVALID, text) from unclear


def _explain(trail: Trail, request: Request) -> Explanation:
    listener, why = chains.listener(trail.config, request)
    if listener is None:
        trail.step(Stage.LISTENER, "-", why)
        return trail.end(Outcome.FAILED, why)
    trail.step(Stage.LISTENER, listener.name, why, trail.config.listeners.documents(listener.name))
    port = listener.address.socket_address.port_value or request.port
    facts = of_request(request, port)
    if listener.HasField("api_listener"):
        return http.explain(extensions.unpacked(listener.api_listener.api_listener), trail, facts)
    chain, why = chains.chain(listener, facts)
    if chain is None:
        trail.step(Stage.CHAIN, "-", why)
        return trail.end(Outcome.FAILED, why, flags="NR")
    trail.step(Stage.CHAIN, chain.name or "-", why)
    if refused := transport.refusal(chain, facts):
        return trail.end(Outcome.REFUSED, refused)
    return _chained(chain, trail, facts)


def _chained(chain: Any, trail: Trail, facts: Facts) -> Explanation:
    """Network filters before the connection manager may close the connection."""
    manager = next((each for each in chain.filters if each.typed_config.type_url.endswith(_MANAGER)), None)
    if manager is None:
        return streams.explain(chain, trail, facts)
    for one in chain.filters:
        config = extensions.unpacked(one.typed_config)
        refused = streams.access(one.name, config, trail, facts)
        if refused is not None:
            return refused
    return http.explain(extensions.unpacked(manager.typed_config), trail, facts)

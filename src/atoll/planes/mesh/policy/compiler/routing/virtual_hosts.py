"""Virtual hosts: all routes of requests to one host and port, serialised, and route configurations made of them.

Rule: a virtual host depends on its service and the documents about it, not on who else is in the mesh; a route
configuration is its virtual hosts, put side by side in bytes, so that a change of one costs one.

Documents of a host: the first VirtualService holds; where there is none, all HTTPRoutes and GRPCRoutes together; where
there is none either, everything goes to the service itself. A request that no rule matches is answered 404, as in Istio.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2 as components
from envoy.config.route.v3 import route_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type, resource
from atoll.planes.mesh.model.world import Face, World
from atoll.planes.mesh.policy.compiler import names
from atoll.planes.mesh.policy.compiler.memo import Memo
from atoll.planes.mesh.policy.compiler.routing import (
    actions,
    destinations,
    gateway_api,
    matches,
    scene,
    virtual_services,
)
from atoll.planes.mesh.policy.compiler.routing.scene import Ref, Scene, Stage
from atoll.resources.mesh import hosts
from atoll.resources.mesh.documents.kinds import Document

_VIRTUAL_HOSTS_TAG = b"\x12"  # field 2 of RouteConfiguration, length-delimited
_REFUSED_STATUS = 502  # 404 would look like the service's own
_REFUSAL = "no service of the mesh answers to this host\n"


class VirtualHost(NamedTuple):
    """One virtual host, serialised; ``refs`` and ``others``: what it leads to. ``answers``, ``needed``: see ``Scene``."""

    body: bytes
    refs: tuple[Ref, ...] = ()
    documents: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    answers: Mapping[tuple[str, str], Any] = {}
    others: tuple[str, ...] = ()
    needed: tuple[Ref, ...] = ()


class Called(msgspec.Struct, frozen=True):
    """What is called: ``domains`` lead to ``host`` at ``port``. Where ``host`` is no service, documents alone route it."""

    host: str
    port: int
    domains: tuple[str, ...]


def virtual_host(world: World, stage: Stage, called: Called, sharing: Any, memo: Memo) -> VirtualHost:
    """``sharing``: a key of all that routes may depend on in ``stage.client``."""
    face = world.faces.get(called.host)
    documents = documents_for(world, called.host, stage.namespace)
    return memo.piece(
        ("virtual host", called, sharing),
        (face, world.choices, *documents),
        functools.partial(compiled, world, stage, called),
        lambda made: scene.still(world, stage.client, made.answers),
    )


def documents_for(world: World, host: str, namespace: str) -> tuple[Document[Any], ...]:
    """Those that route requests to ``host`` for callers in ``namespace``: one VirtualService, or routes of the other API."""
    found: tuple[Document[Any], ...] = world.policies.virtual_services_for(host, namespace)[:1]
    if found and found[0].spec.http:
        return found
    of_http = world.policies.http_routes_for(host, namespace)
    of_grpc = world.policies.grpc_routes_for(host, namespace)
    return (*of_http, *of_grpc)


def compiled(world: World, stage: Stage, called: Called) -> VirtualHost:
    told = Scene(world, stage)
    documents = documents_for(world, called.host, stage.namespace)
    made = routes_of(told, documents, called)
    message = components.VirtualHost(
        name=names.virtual_host(called.host, called.port),
        domains=called.domains,
        routes=made,
        include_request_attempt_count=True,
    )
    return sealed(told, message, documents)


def sealed(told: Scene, message: Any, documents: Iterable[Document[Any]]) -> VirtualHost:
    shaped = {str(document.key): None for document in documents} | told.documents
    return VirtualHost(
        message.SerializeToString(deterministic=True),
        tuple(told.refs),
        tuple(shaped),
        tuple(told.problems),
        told.answers,
        needed=tuple(told.needed),
    )


def routes_of(told: Scene, documents: tuple[Document[Any], ...], called: Called) -> list[Any]:
    face = told.face(called.host)
    if documents and documents[0].key.kind == "VirtualService":
        return virtual_services.routes(told, documents[0])
    if documents:
        domain = told.world.choices.domain
        here = [each for each in documents if _is_for_port(each, called, domain)]
        if here:
            return gateway_api.routes(told, here)
    return [to_service(told, face, called.port)] if face is not None else []


def _is_for_port(document: Document[Any], called: Called, domain: str) -> bool:
    for parent in document.spec.parentRefs:
        namespace = hosts.namespace_of(parent.namespace) if parent.namespace else document.namespace
        host = f"{parent.name}.{namespace}.svc.{domain}"
        if parent.is_service and host == called.host and parent.port in (None, called.port):
            return True
    return False


def to_service(told: Scene, face: Face, port: int) -> Any:
    """Everything to the service itself, as long as no document says otherwise."""
    ref = Ref(face.host, port)
    told.refs[ref] = None
    route = components.Route(name=names.DEFAULT_ROUTE, match=matches.everything())
    route.route.cluster = ref.cluster
    actions.set_timeout(route.route, None)
    route.route.retry_policy.CopyFrom(actions.safe_retries())
    by = destinations.consistent_hash(told, [ref])
    if by is not None:
        route.route.hash_policy.extend(actions.hash_policies(by))
    return route


@functools.cache
def refused() -> VirtualHost:
    """What answers to hosts that the mesh does not know."""
    route = components.Route(name=names.REFUSED, match=matches.everything())
    route.direct_response.status = _REFUSED_STATUS
    route.direct_response.body.CopyFrom(base_pb2.DataSource(inline_string=_REFUSAL))
    message = components.VirtualHost(name=names.REFUSED, domains=["*"], routes=[route])
    return VirtualHost(message.SerializeToString(deterministic=True))


def passed_on(cluster: str) -> VirtualHost:
    """Requests to hosts that the mesh does not know go to ``cluster``."""
    route = components.Route(name=names.PASSED_ON, match=matches.everything())
    route.route.cluster = cluster
    actions.set_timeout(route.route, None)
    message = components.VirtualHost(name=names.PASSED_ON, domains=["*"], routes=[route])
    return VirtualHost(message.SerializeToString(deterministic=True), others=(cluster,))


def configuration(
    name: str, virtual: Iterable[VirtualHost], head: Any = None, shaped: Iterable[str] = ()
) -> Resource:
    """``head``: a ``RouteConfiguration`` with what is said besides name and hosts; ``shaped``: by these documents."""
    head = head or route_pb2.RouteConfiguration()
    head.name = name
    head.validate_clusters.value = False
    body = [head.SerializeToString(deterministic=True)]
    refs: dict[Ref, None] = {}
    others: dict[str, None] = {}
    documents = dict.fromkeys(shaped)
    for host in virtual:
        body += (_VIRTUAL_HOSTS_TAG, _varint(len(host.body)), host.body)
        refs.update(dict.fromkeys(host.refs))
        documents.update(dict.fromkeys(host.documents))
        others.update(dict.fromkeys(host.others))
    refers = tuple((Type.CLUSTER, cluster) for cluster in (*(ref.cluster for ref in refs), *others))
    return resource(Type.ROUTE, name, b"".join(body), refers, tuple(documents))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

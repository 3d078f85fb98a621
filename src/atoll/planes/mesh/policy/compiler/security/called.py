"""What is called: a rule's ``to`` and the conditions on it, as permissions of Envoy's RBAC filter.

Rule: paths are compared as the proxy routes them, without their query and after normalisation, so that what is refused
cannot be asked for by another spelling.

A port in a document is the one that the workload is called at, or else that of its service. Each listener has one port,
so a port is decided while compiling: it matches all that comes through its listener, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from envoy.config.core.v3 import extension_pb2
from envoy.config.rbac.v3 import rbac_pb2
from envoy.extensions.path.match.uri_template.v3 import uri_template_match_pb2
from envoy.type.matcher.v3 import path_pb2

from atoll.planes.mesh.policy.compiler import messages
from atoll.planes.mesh.policy.compiler.security import callers, terms
from atoll.planes.mesh.policy.compiler.security.terms import CALLED, Term
from atoll.resources.mesh.documents.authorization_policy import Operation

_Permission = rbac_pb2.Permission
_TEMPLATE = "envoy.path.match.uri_template.uri_template_matcher"
_METHOD, _HOST = ":method", ":authority"


class Port:
    """What comes through a listener that documents know by ``numbers``."""

    def __init__(self, numbers: Collection[int]) -> None:
        self._numbers = {str(number) for number in numbers}

    def operation(self, operation: Operation) -> list[Term]:
        """Terms that must all hold of one ``to``."""
        return [
            *terms.field(CALLED, operation.hosts, operation.notHosts, _host, http_only=True),
            *terms.field(CALLED, operation.methods, operation.notMethods, _method, http_only=True),
            *terms.field(CALLED, operation.paths, operation.notPaths, path, http_only=True),
            *terms.field(CALLED, operation.ports, operation.notPorts, self.number),
        ]

    def condition(self, key: str, values: Sequence[str], refused: Sequence[str]) -> list[Term] | None:
        """The terms of a ``when``; None: ``key`` does not speak of what is called."""
        if key == "destination.port":
            return terms.field(CALLED, values, refused, self.number)
        make = _CONDITIONS.get(key)
        return None if make is None else terms.field(CALLED, values, refused, make)

    def number(self, number: str) -> Any:
        anything = _Permission(any=True)
        return anything if number in self._numbers else _Permission(not_rule=anything)


def path(pattern: str) -> Any:
    """``/exact``, ``/prefix*``, ``*suffix``, or with ``{*}`` for one segment and ``{**}`` for any number of them."""
    if "{*" in pattern:
        template = uri_template_match_pb2.UriTemplateMatchConfig(path_template=_template(pattern))
        return _Permission(
            uri_template=extension_pb2.TypedExtensionConfig(
                name=_TEMPLATE, typed_config=messages.packed(template)
            )
        )
    return _Permission(url_path=path_pb2.PathMatcher(path=terms.text(pattern)))


def _template(pattern: str) -> str:
    return pattern.replace("{**}", "**").replace("{*}", "*")


def _host(pattern: str) -> Any:
    return _Permission(header=terms.header(_HOST, pattern, ignore_case=True))


def _method(pattern: str) -> Any:
    return _Permission(header=terms.header(_METHOD, pattern))


def _address(network: str) -> Any:
    return _Permission(destination_ip=callers.cidr(network))


def _server_name(pattern: str) -> Any:
    return _Permission(requested_server_name=terms.text(pattern))


_CONDITIONS: Mapping[str, Callable[[str], Any]] = {"destination.ip": _address, "connection.sni": _server_name}

"""``atoll mesh plaintext`` and ``strict``: from "plain text as well" to "the mesh's TLS alone", one service after the other.

Rule: a service goes STRICT only when its proxies have seen nobody without the mesh's TLS for a while, and each of them was
heard; ``--force`` goes without. What is written is one ``PeerAuthentication`` for the service, which ``atoll get`` shows and
``--back`` turns back.
"""

from __future__ import annotations

import argparse
from typing import Any

from atoll.cli import registry, show
from atoll.client.mesh_documents import MeshDocuments
from atoll.client.mesh_plaintext import MeshPlaintext
from atoll.client.node import Client
from atoll.errors import AtollError, Code
from atoll.resources.mesh.document_api import ApplyOrder, FileText
from atoll.resources.mesh.plaintext_api import PlaintextShown

QUIET_S = 3600.0
NAMED_MAX = 5

_DOCUMENT = """\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: {service}-tls
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      app: {service}
  mtls:
    mode: {mode}
"""


def add(actions: Any) -> None:
    plaintext = registry.action(
        actions, "plaintext", "say who still calls a service without the mesh's TLS", _plaintext
    )
    strict = registry.action(actions, "strict", "let a service take the mesh's TLS alone", _strict)
    for parser in (plaintext, strict):
        parser.add_argument("service", metavar="SERVICE")
        parser.add_argument("--namespace", default="default", metavar="NAME", help="default: %(default)s")
    strict.add_argument(
        "--quiet",
        type=float,
        default=QUIET_S,
        metavar="S",
        help="only if nobody came without for so long; default: %(default)s",
    )
    strict.add_argument("--force", action="store_true", help="although somebody may be cut off")
    strict.add_argument("--back", action="store_true", help="take plain text again as well")


async def _plaintext(client: Client, options: argparse.Namespace) -> None:
    found = await MeshPlaintext(client).shown(options.service, options.namespace)
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.node,
            str(each.port),
            "cannot be told" if each.connections < 0 else str(each.connections),
            str(each.open),
            show.moment(each.last_s) if each.last_s else "never",
            show.moment(each.since_s),
        )
        for each in found.ports
    )
    show.print_table(("proxy", "port", "without TLS", "open now", "last", "watched since"), rows)
    registry.tell(options, found, f"\n{_verdict(found)}")


async def _strict(client: Client, options: argparse.Namespace) -> None:
    if not options.back and not options.force:
        found = await MeshPlaintext(client).shown(options.service, options.namespace)
        if found.quiet_s < options.quiet:
            text = (
                f"{_verdict(found)}; it stays PERMISSIVE (wanted: {options.quiet:g} s of quiet, or --force)"
            )
            raise AtollError(Code.CONFLICT, text)
    mode = "PERMISSIVE" if options.back else "STRICT"
    text = _DOCUMENT.format(service=options.service, namespace=options.namespace, mode=mode)
    order = ApplyOrder((FileText("PeerAuthentication", text),), options.namespace)
    applied = await MeshDocuments(client).apply(order)
    registry.tell(options, applied, f"{options.service} is {mode} now")


def _verdict(found: PlaintextShown) -> str:
    if found.silent:
        return f"nothing is known yet of {_some(found.silent)}"
    if not found.ports:
        return f"no sidecar of {found.namespace}/{found.service} is connected, so nobody is watched"
    if unknown := [f"{each.node} port {each.port}" for each in found.ports if each.connections < 0]:
        return f"it cannot be told who comes to {_some(unknown)}: a byte stream behind intercepted traffic"
    if open_now := [each.node for each in found.ports if each.open]:
        return f"connections without the mesh's TLS are open at {_some(open_now)}"
    return f"nobody has come without the mesh's TLS for {found.quiet_s:.0f} s, as far as was watched"


def _some(names: Any) -> str:
    shown = ", ".join(names[:NAMED_MAX])
    return shown if len(names) <= NAMED_MAX else f"{shown} and {len(names) - NAMED_MAX} more"

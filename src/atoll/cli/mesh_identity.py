"""``atoll mesh ca``, ``token``, ``user`` and ``certificate``: who is who in the mesh.

Rule: orders go to the node's Unix socket where it is on this machine (its peer's uid proves the operator), and otherwise to
its API with its token. A join token and a key are never arguments, which every user of a machine can see. The key of an
offline root is read from its folder and goes nowhere.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from atoll.cli import command, registry, show
from atoll.cli.offline_root import OfflineRoot
from atoll.client.mesh_authority import MeshAuthority
from atoll.client.mesh_identity import MeshIdentity
from atoll.client.node import Client
from atoll.client.transport import HttpTransport
from atoll.errors import AtollError, Code
from atoll.resources.mesh.authority_api import (
    AdvanceOrder,
    AuthorityShown,
    CertificateNamed,
    CreateOrder,
    IntermediateOrder,
    RotateOrder,
    TokenOrder,
    TrustOrder,
    UserOrder,
    UserShown,
)
from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.net import UNIX_SCHEME
from atoll.wire.x509 import bundle_map

SOCKET_FILE = "mesh.sock"
SHORT_CHARS = 16  # of a fingerprint, in tables

Act: TypeAlias = Callable[[Client, argparse.Namespace], Coroutine[Any, Any, None]]


def add(actions: Any) -> None:
    token = _action(actions, "token", "make a join token: good once, for one service", _token)
    token.add_argument("service", metavar="SERVICE", help="what its bearer may be")
    token.add_argument("--namespace", default="default", metavar="NAME", help="default: %(default)s")
    token.add_argument("--ttl", type=float, default=0.0, metavar="S", help="default: a quarter of an hour")
    _add_users(registry.group(actions, "user", "what processes of a uid may be, at a node's Unix socket"))
    _add_authority(registry.group(actions, "ca", "the mesh's certificate authority"))


def _add_users(actions: Any) -> None:
    _action(actions, "list", "list the mappings", _users)
    mapped = _action(actions, "map", "say what processes of a uid may be", _map)
    mapped.add_argument("uid", type=int, metavar="UID")
    mapped.add_argument("service", nargs="+", metavar="NAMESPACE/SERVICE", help="or NAMESPACE/*")
    unmapped = _action(actions, "unmap", "let processes of a uid be nothing any more", _unmap)
    unmapped.add_argument("uid", type=int, metavar="UID")
    for parser in (mapped, unmapped):
        parser.add_argument("--node", default="", metavar="ID", help="on that node's machine only")


def _add_authority(actions: Any) -> None:
    _action(actions, "show", "show roots, intermediates, and what an exchange waits for", _show)
    init = _action(actions, "init", "make an offline root, and begin the mesh with it", _init)
    _offline(init, required=True)
    init.add_argument(
        "--trust-domain", default="cluster.local", metavar="DOMAIN", help="default: %(default)s"
    )
    init.add_argument("--apart", action="store_true", help="only make it; this machine reaches no node")
    sign = _action(actions, "sign", "let an offline root sign what nodes wait for", _sign)
    _offline(sign, required=True)
    sign.add_argument(
        "--from", dest="source", default="", metavar="FILE", help="what `ca show --json` printed"
    )
    sign.add_argument("--to", default="", metavar="FILE", help="for `ca import`; with --from")
    imported = _action(actions, "import", "bring what was signed apart to the node", _import)
    imported.add_argument(
        "file", metavar="FILE", help="what `ca sign --to` wrote, or a root certificate (PEM)"
    )
    rotate = _action(actions, "rotate", "begin to exchange the root", _rotate)
    _offline(rotate, required=False)
    rotate.add_argument("--step-by-step", action="store_true", help="each stage waits for `ca advance`")
    advance = _action(actions, "advance", "begin the next stage of the exchange", _advance)
    advance.add_argument("--force", action="store_true", help="although somebody would be cut off")
    _action(actions, "renew", "let every workload renew its certificate now", _renew)
    _action(actions, "certificates", "list the certificates in use", _certificates)
    withdraw = _action(actions, "withdraw", "let a certificate not be renewed", _withdraw)
    withdraw.add_argument("serial", metavar="SERIAL")
    trust = _action(actions, "trust", "believe the workloads of another trust domain", _trust)
    trust.add_argument("domain", metavar="DOMAIN")
    trust.add_argument(
        "file", metavar="FILE", help="its roots: PEM, or a SPIFFE bundle (JSON); - for standard input"
    )
    distrust = _action(actions, "distrust", "believe another trust domain no more", _distrust)
    distrust.add_argument("domain", metavar="DOMAIN")
    bundle = _action(actions, "bundle", "print this mesh's roots, for others to trust", _bundle)
    bundle.add_argument("--spiffe", action="store_true", help="as a SPIFFE bundle (JSON) instead of PEM")


def _offline(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--offline-root", required=required, default="", metavar="DIR", help="the folder of the offline root"
    )


def _action(actions: Any, name: str, text: str, act: Act) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text.capitalize() + ".")
    command.add_client(parser)
    parser.set_defaults(run=lambda options: _run(act, options))
    return parser


def _run(act: Act, options: argparse.Namespace) -> int:
    loop.run(act(client(options), options))
    return 0


def client(options: argparse.Namespace) -> Client:
    """By the node's Unix socket where it is here and no other node was named."""
    socket = socket_of(options)
    if options.url or os.environ.get(command.URL_VARIABLE) or options.user or not socket.exists():
        return command.client(options)
    return Client(HttpTransport(f"{UNIX_SCHEME}{socket}"))


def socket_of(options: argparse.Namespace) -> Path:
    """Where workloads of this machine enrol."""
    chosen = command.resolve(options).settings
    return Path(chosen.mesh_socket) if chosen.mesh_socket else chosen.data / SOCKET_FILE


# --------------------------------------------------------------------------------------- tokens, users


async def _token(client: Client, options: argparse.Namespace) -> None:
    order = TokenOrder(options.service, options.namespace, options.ttl)
    made = await MeshAuthority(client).make_token(order)
    registry.tell(options, made, made.token)


async def _users(client: Client, options: argparse.Namespace) -> None:
    _print_users(options, await MeshAuthority(client).users())


async def _map(client: Client, options: argparse.Namespace) -> None:
    order = UserOrder(options.uid, tuple(options.service), options.node)
    _print_users(options, await MeshAuthority(client).map_user(order))


async def _unmap(client: Client, options: argparse.Namespace) -> None:
    _print_users(options, await MeshAuthority(client).map_user(UserOrder(options.uid, (), options.node)))


def _print_users(options: argparse.Namespace, users: list[UserShown]) -> None:
    if options.json:
        show.print_json(users)
        return
    rows = ((str(each.uid), each.node or "every", ", ".join(each.services)) for each in users)
    show.print_table(("uid", "node", "may be"), rows)


# ------------------------------------------------------------------------------------------ authority


async def _show(client: Client, options: argparse.Namespace) -> None:
    _print_authority(options, await MeshAuthority(client).show())


def _print_authority(options: argparse.Namespace, shown: AuthorityShown) -> None:
    if options.json:
        show.print_json(shown)
        return
    if not shown.trust_domain:
        sys.stdout.write("this mesh has no root yet; make one: atoll mesh ca init --offline-root DIR\n")
        return
    show.print_pairs(
        [
            ("trust domain", shown.trust_domain),
            ("other domains", ", ".join(shown.foreign) or "-"),
            ("certificates in use", str(shown.certificates)),
        ]
    )
    roots = (
        (
            each.fingerprint[:SHORT_CHARS],
            each.stage.value,
            "offline" if each.offline else "in the store",
            show.moment(each.since_s),
            show.moment(each.not_after_s),
        )
        for each in shown.roots
    )
    show.print_table(("root", "stage", "key", "since", "until"), roots, title="\nroots")
    nodes = (
        (each.node, each.root[:SHORT_CHARS] or "-", show.moment(each.not_after_s), _waits(each.request))
        for each in shown.intermediates
    )
    show.print_table(("node", "under", "until", ""), nodes, title="\nintermediates")
    if len(shown.roots) > 1:
        _print_exchange(shown)


def _waits(request: str) -> str:
    return "waits for the offline root: atoll mesh ca sign" if request else ""


def _print_exchange(shown: AuthorityShown) -> None:
    how = "begins by itself" if shown.automatic else "is begun by `atoll mesh ca advance`"
    if shown.waits_for:
        sys.stdout.write(f"\nthe next stage of the exchange {how}; it waits for:\n")
        sys.stdout.writelines(f"  {each}\n" for each in shown.waits_for)
    else:
        sys.stdout.write(f"\nthe next stage of the exchange is safe now, and {how}\n")


async def _init(client: Client, options: argparse.Namespace) -> None:
    root = OfflineRoot(Path(options.offline_root), BootClock())
    certificate = root.make(options.trust_domain)
    if options.apart:
        sys.stdout.write(f"{root.certificate_file}: bring it to a node by `atoll mesh ca import`\n")
        return
    authority = MeshAuthority(client)
    await authority.create(CreateOrder(certificate))
    _print_authority(options, await _sign_waiting(authority, root))


async def _sign(client: Client, options: argparse.Namespace) -> None:
    root = OfflineRoot(Path(options.offline_root), BootClock())
    if not options.source:
        _print_authority(options, await _sign_waiting(MeshAuthority(client), root))
        return
    shown = _decoded(registry.read_text(options.source), AuthorityShown, options.source)
    signed = msgspec.json.encode(_signed(root, shown))
    if options.to:
        Path(options.to).write_bytes(signed)
    else:
        sys.stdout.write(signed.decode() + "\n")


async def _sign_waiting(authority: MeshAuthority, root: OfflineRoot) -> AuthorityShown:
    shown = await authority.show()
    for order in _signed(root, shown):
        shown = await authority.put_intermediate(order)
    return shown


def _signed(root: OfflineRoot, shown: AuthorityShown) -> list[IntermediateOrder]:
    waiting = [each for each in shown.intermediates if each.request]
    return [IntermediateOrder(each.node, root.sign(each.request, each.node)) for each in waiting]


async def _import(client: Client, options: argparse.Namespace) -> None:
    authority, text = MeshAuthority(client), registry.read_text(options.file)
    if text.lstrip().startswith("-----BEGIN CERTIFICATE-----"):
        _print_authority(options, await authority.create(CreateOrder(text)))
        return
    shown = await authority.show()
    for order in _decoded(text, list[IntermediateOrder], options.file):
        shown = await authority.put_intermediate(order)
    _print_authority(options, shown)


async def _rotate(client: Client, options: argparse.Namespace) -> None:
    authority = MeshAuthority(client)
    certificate = ""
    if options.offline_root:
        root = OfflineRoot(Path(options.offline_root), BootClock())
        certificate = root.make((await authority.show()).trust_domain)
    order = RotateOrder(certificate, not options.step_by_step)
    _print_authority(options, await authority.rotate(order))


async def _advance(client: Client, options: argparse.Namespace) -> None:
    _print_authority(options, await MeshAuthority(client).advance(AdvanceOrder(options.force)))


async def _renew(client: Client, options: argparse.Namespace) -> None:
    shown = await MeshAuthority(client).renew()
    registry.tell(options, shown, f"{shown.certificates} certificates are being renewed")


async def _certificates(client: Client, options: argparse.Namespace) -> None:
    found = await MeshAuthority(client).certificates()
    if options.json:
        show.print_json(found)
        return
    rows = (
        (
            each.serial,
            each.spiffe_id,
            each.instance or "-",
            each.how,
            show.moment(each.issued_s),
            show.moment(each.not_after_s),
        )
        for each in found
    )
    show.print_table(("serial", "identity", "instance", "proven by", "since", "until"), rows)


async def _withdraw(client: Client, options: argparse.Namespace) -> None:
    done = await MeshAuthority(client).withdraw(CertificateNamed(options.serial))
    if not done.removed:
        raise registry.not_there(f"certificate {options.serial}")
    registry.tell(options, done, "it cannot be renewed any more, and is good until its end")


async def _trust(client: Client, options: argparse.Namespace) -> None:
    text = registry.read_text(options.file)
    roots = bundle_map.decode_one(text.encode()) if text.lstrip().startswith("{") else text
    _print_authority(options, await MeshAuthority(client).trust(TrustOrder(options.domain, roots)))


async def _distrust(client: Client, options: argparse.Namespace) -> None:
    _print_authority(options, await MeshAuthority(client).trust(TrustOrder(options.domain)))


async def _bundle(client: Client, options: argparse.Namespace) -> None:
    bundle = await MeshIdentity(client).bundle()
    if options.json:
        show.print_json(bundle)
    elif options.spiffe:
        sys.stdout.write(bundle_map.encode_one(bundle.roots).decode() + "\n")
    else:
        sys.stdout.write(bundle.roots)


def _decoded(text: str, kind: Any, place: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError as error:
        raise AtollError(Code.INVALID, f"{place} is not what this command reads: {error}") from error

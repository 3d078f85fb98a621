"""Random documents, compiled and pushed to live Envoys: what is counted on the way.

Rule: a document counts as accepted when it was read without an error and compiled without a problem, for every client; what
an Envoy says against it is a fault of Atoll's then.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from atoll.planes.mesh.policy import compiler
from atoll.planes.mesh.policy.compiler import Memo
from atoll.resources.mesh import clients, node_metadata
from atoll.resources.mesh.clients import Client
from atoll.resources.mesh.documents.kinds import Kind
from atoll.wire.xds.snapshot import Snapshot
from tests import mesh_documents
from tests.conformance.mesh import fuzz_world
from tests.conformance.mesh.pushing import AdsServer, Refusal, bootstrap
from tests.mesh_documents import Written
from tests.peers import envoy, network

PROXYLESS = msgspec.structs.replace(fuzz_world.SIDECAR, kind=clients.Kind.GRPC)


class Tally(msgspec.Struct):
    """``refused``: by the reader or the compiler, by kind; ``features``: in how many accepted documents each field is."""

    accepted: Counter[str] = msgspec.field(default_factory=Counter)
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    features: Counter[str] = msgspec.field(default_factory=Counter)

    def add(self, written: Written, accepted: bool) -> None:
        (self.accepted if accepted else self.refused)[str(written.kind)] += 1
        if accepted:
            self.features.update(mesh_documents.features(written))

    def rare(self, least: int) -> dict[str, int]:
        """Fields that are in fewer than ``least`` accepted documents."""
        every = (each for kind in Kind for each in mesh_documents.all_features(kind))
        return {name: self.features[name] for name in sorted(every) if self.features[name] < least}


class Proxy:
    """A live Envoy that is ``client``, in a network namespace of its own, where every port is free."""

    def __init__(self, client: Client, folder: Path, namespace: str) -> None:
        self.client = client
        self._sockets = Path(tempfile.mkdtemp(prefix="ads-"))
        self.server = AdsServer(self._sockets / "ads.sock")
        node = {"id": node_metadata.node_id(client, "fuzz"), "cluster": client.service}
        self.envoy = envoy.Envoy(folder, bootstrap(node, self.server.socket), namespace=namespace)

    def start(self) -> None:
        self.server.start()
        self.envoy.begin()

    def stop(self) -> None:
        self.envoy.stop()
        self.server.stop()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def push(self, snapshot: Snapshot) -> list[Refusal]:
        """What it refuses of ``snapshot``. Fails with its log when it dies of it."""
        try:
            return self.server.push(snapshot)
        except AssertionError as error:
            if self.envoy.process.running:
                raise
            raise AssertionError(f"the Envoy died: {self.envoy.process.log_tail()}") from error


class Bench:
    """The compiler with its memo, and the proxies that take what it makes."""

    def __init__(self, proxies: list[Proxy], folder: Path) -> None:
        self.proxies = proxies
        self.folder = folder
        self.memo = Memo()
        self.world = fuzz_world.world()
        self.leant_on = fuzz_world.leant_on()
        self.tally = Tally()

    def compile(self, *written: Written) -> dict[str, compiler.Compiled] | None:
        """By the client's kind; None: one of the documents is refused."""
        readings = [fuzz_world.read(each, self.folder) for each in written]
        if any(reading.errors for reading in readings):
            return None
        documents = {each.key: each.document for reading in readings for each in reading.documents}
        leant_on = {each.key: each for each in self.leant_on}
        world = fuzz_world.with_documents(self.world, {**leant_on, **documents}.values())
        return {
            str(client.kind): compiler.compile(world, client, self.memo)
            for client in (*fuzz_world.CLIENTS, PROXYLESS)
        }

    def try_out(self, written: Written) -> list[str]:
        """What the Envoys say against a document that Atoll accepts."""
        compiled = self.compile(written)
        if compiled is None:
            self.tally.add(written, False)
            return []
        said = []
        for proxy in self.proxies:
            kind = proxy.client.kind
            said += [
                f"{kind}: {each.type.name}: {each.text}" for each in proxy.push(compiled[str(kind)].snapshot)
            ]
        self.tally.add(written, True)
        return said


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Bench]:
    certificate_files(folder)
    kinds = [str(client.kind) for client in fuzz_world.CLIENTS]
    with network.network(kinds) as places, contextlib.ExitStack() as stack:
        proxies = []
        for client, kind in zip(fuzz_world.CLIENTS, kinds, strict=True):
            (folder / kind).mkdir()
            proxy = Proxy(client, folder / kind, places.namespace(kind))
            stack.callback(proxy.stop)
            proxy.start()
            proxies.append(proxy)
        yield Bench(proxies, folder)


def certificate_files(folder: Path) -> None:
    """cert.pem, key.pem and crl.pem, of an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web.test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, end)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    revoked = x509.CertificateRevocationListBuilder(name, start, end).sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, form, plain))
    (folder / "crl.pem").write_bytes(revoked.public_bytes(pem))

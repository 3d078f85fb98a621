"""The mesh's authority over time: roots in stages, intermediates of nodes, offline roots, other trust domains, what is told."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from atoll.cli.offline_root import OfflineRoot
from atoll.client import mesh_doors
from atoll.errors import AtollError, Code
from atoll.host.sidecar.identity import held as rules
from atoll.host.sidecar.identity.files import CredentialFiles, KeptToo
from atoll.host.sidecar.identity.held import Held
from atoll.host.sidecar.identity.workload import Who, WorkloadIdentity
from atoll.planes.mesh.service.identity.intermediate import FOLDER, KEY_FILE
from atoll.resources.mesh import join_token
from atoll.resources.mesh.authority import Stage
from atoll.resources.mesh.authority_api import (
    AdvanceOrder,
    AuthorityShown,
    CreateOrder,
    IntermediateOrder,
    RotateOrder,
    TokenOrder,
    TrustOrder,
)
from atoll.resources.mesh.identity import Bundle
from atoll.runtime import keys
from atoll.runtime.clock import BootClock
from atoll.runtime.rng import seeded_rng
from atoll.runtime.tls import Credentials
from atoll.store.term import Term
from atoll.wire.x509 import authorities, bundle_map, certificates, requests
from atoll.wire.x509.authorities import Stamp
from atoll.wire.x509.certificates import Issuer, Profile
from tests.unit.mesh.authority_kit import DOMAIN, Mesh, Node, order, run, until

REVIEWS = "spiffe://cluster.local/ns/default/sa/reviews"
DAY_S = 86_400.0


def stages(shown: AuthorityShown) -> list[Stage]:
    return [root.stage for root in shown.roots]


class Nobody:
    """A sink of a workload that has no Envoy; ``takes``: whether it takes new roots."""

    def __init__(self) -> None:
        self.takes = True
        self.held: list[Held] = []

    async def open(self) -> None:
        self.held.clear()

    async def close(self) -> None:
        self.held.clear()

    async def hold(self, held: Held) -> bool:
        self.held.append(held)
        return self.takes


def agent_of(
    node: Node, sink: Nobody, service: str = "reviews", clock: BootClock | None = None
) -> WorkloadIdentity:
    who = Who(service=service, socket=node.socket)
    return WorkloadIdentity(who, mesh_doors, sink, clock or BootClock(), seeded_rng(1))


# ------------------------------------------------------------------------------------ roots in stages


def test_a_root_is_exchanged_in_stages_and_nobody_is_cut_off() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        sink = Nobody()
        agent = agent_of(node, sink)
        await agent.open()
        first = (await node.operator.show()).roots[0].fingerprint
        begun = await node.operator.rotate(RotateOrder(automatic=False))
        assert stages(begun) == [Stage.SIGNING, Stage.TRUSTED]
        # Trusted by all before anybody is signed by it ...
        await until(lambda: not node.authority.shown().waits_for, "the workload to trust the new root")
        (before,) = node.authority.certificates()
        assert before.root == first
        assert before.bundle == node.authority.shown().version
        assert certificates.split(sink.held[-1].bundle.roots)[1:] == [begun.roots[1].certificate]
        # ... then it signs, and the old one stays trusted until the last certificate under it is over.
        switched = await node.operator.advance(AdvanceOrder())
        assert stages(switched) == [Stage.LEAVING, Stage.SIGNING]
        await until(lambda: not node.authority.shown().waits_for, "nobody to stand under the old root")
        finished = await node.operator.advance(AdvanceOrder())
        assert stages(finished) == [Stage.SIGNING]
        assert finished.roots[0].fingerprint != first
        (after,) = node.authority.certificates()
        assert after.root == finished.roots[0].fingerprint
        await until(
            lambda: len(certificates.split(sink.held[-1].bundle.roots)) == 1, "the old root to be gone"
        )
        await agent.close()

    run(scenario)


def test_the_new_root_does_not_sign_while_somebody_may_not_trust_it() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        issued = await node.local.enrol(order(keys.new_private_key(), instance="vanished"))
        await node.operator.rotate(RotateOrder(automatic=False))
        with pytest.raises(AtollError, match="reviews \\(vanished\\) may not trust it yet") as raised:
            await node.operator.advance(AdvanceOrder())
        assert raised.value.code is Code.CONFLICT
        assert stages(node.authority.shown()) == [Stage.SIGNING, Stage.TRUSTED]
        mesh.clock.ahead_s = (
            issued.ttl_s + 1
        )  # whoever has vanished holds nothing up longer than its certificate lives
        assert stages(await node.operator.advance(AdvanceOrder())) == [Stage.LEAVING, Stage.SIGNING]

    run(scenario)


def test_the_old_root_stays_trusted_while_somebody_stands_under_it() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        await node.operator.rotate(RotateOrder(automatic=False))
        key = keys.new_private_key()
        issued = await node.local.enrol(order(key, bundle=node.authority.issuing.bundle().version))
        await node.operator.advance(AdvanceOrder())
        await until(lambda: not _under_old(node), "the node to have an intermediate of the new root")
        with pytest.raises(AtollError, match="still stand under it") as raised:
            await node.operator.advance(AdvanceOrder())
        assert raised.value.code is Code.CONFLICT
        await node.local.enrol(order(keys.new_private_key(), replaces=issued.serial))
        await until(lambda: not node.authority.shown().waits_for, "the old certificate to be superseded")
        assert stages(await node.operator.advance(AdvanceOrder())) == [Stage.SIGNING]

    run(scenario)


def _under_old(node: Node) -> bool:
    shown = node.authority.shown()
    leaving = [root.fingerprint for root in shown.roots if root.stage is Stage.LEAVING]
    return any(each.root in leaving for each in shown.intermediates)


def test_force_goes_on_although_somebody_is_cut_off() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        await node.local.enrol(order(keys.new_private_key()))
        await node.operator.rotate(RotateOrder(automatic=False))
        assert stages(await node.operator.advance(AdvanceOrder(force=True))) == [Stage.LEAVING, Stage.SIGNING]
        assert stages(await node.operator.advance(AdvanceOrder(force=True))) == [Stage.SIGNING]
        with pytest.raises(AtollError, match="no exchange of roots goes on"):
            await node.operator.advance(AdvanceOrder(force=True))

    run(scenario)


def test_one_exchange_at_a_time() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        await node.operator.rotate(RotateOrder(automatic=False))
        with pytest.raises(AtollError, match="an exchange of roots goes on"):
            await node.operator.rotate(RotateOrder())

    run(scenario)


class HeldTerm(Term):
    """A term that is held."""

    def __init__(self) -> None:
        """Without a store."""

    def check(self) -> None:
        return None


def test_the_leader_goes_on_with_an_exchange_by_itself_as_soon_as_it_is_safe() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        rotation = node.opened.rotation
        held = await node.local.enrol(order(keys.new_private_key()))
        assert not await rotation.look(HeldTerm())
        await node.operator.rotate(RotateOrder())
        assert not await rotation.look(HeldTerm()), "somebody does not trust the new root yet"
        version = node.authority.issuing.bundle().version
        again = await node.local.enrol(order(keys.new_private_key(), replaces=held.serial, bundle=version))
        await until(lambda: not node.authority.shown().waits_for, "the ledger to show it")
        assert await rotation.look(HeldTerm())
        await until(lambda: not _under_old(node), "the node to have an intermediate of the new root")
        assert not await rotation.look(HeldTerm())
        await node.local.enrol(order(keys.new_private_key(), replaces=again.serial, bundle=version))
        await until(lambda: not node.authority.shown().waits_for, "the ledger to show it")
        assert await rotation.look(HeldTerm())
        assert stages(node.authority.shown()) == [Stage.SIGNING]

    run(scenario)


# ------------------------------------------------------------------------------------- intermediates


def test_every_node_has_an_intermediate_whose_key_is_in_its_own_folder_alone() -> None:
    async def scenario(mesh: Mesh) -> None:
        nodes = [await mesh.start("n1"), await mesh.start("n2")]
        issued = [await node.local.enrol(order(keys.new_private_key())) for node in nodes]
        signers = {certificates.split(each.chain)[1] for each in issued}
        assert len(signers) == 2
        assert all(certificates.is_signed_by(signer, issued[0].bundle.roots) for signer in signers)
        assert issued[0].bundle == issued[1].bundle
        for name in ("n1", "n2"):
            file = mesh.folder / name / FOLDER / KEY_FILE
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    run(scenario)


def test_an_intermediate_signs_no_authority() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        issuer = node.opened.intermediate.issuer()
        key = keys.new_private_key()
        rogue = authorities.intermediate(
            issuer, requests.make(key), "rogue", Stamp(keys.new_serial(), mesh.clock.wall_s())
        )
        public = requests.private_key(key).public_key()
        profile = Profile(keys.new_serial(), mesh.clock.wall_s(), 600.0, uri=REVIEWS)
        leaf = certificates.sign(Issuer(rogue, key), public, profile)
        bundle = node.authority.issuing.bundle()
        shown = Credentials(bundle.roots, leaf + rogue + issuer.certificate, key)
        with pytest.raises(AtollError) as raised:
            await mesh_doors.by_certificate([node.xds], shown, bundle).enrol(order(keys.new_private_key()))
        assert raised.value.code in (Code.UNAVAILABLE, Code.UNKNOWN)
        assert node.authority.certificates() == []

    run(scenario)


def test_an_intermediate_is_renewed_when_half_of_its_life_is_over() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        before = node.opened.intermediate.issuer()
        mesh.clock.ahead_s = authorities.INTERMEDIATE_TTL_S * 0.49
        await node.authority.refresh()
        assert node.opened.intermediate.issuer() == before
        mesh.clock.ahead_s = authorities.INTERMEDIATE_TTL_S * 0.51
        await node.authority.refresh()
        after = node.opened.intermediate.issuer()
        assert after.certificate != before.certificate
        assert after.key == before.key

    run(scenario)


def test_a_node_that_lost_its_key_makes_another(tmp_path: Path) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start("n1")
        before = node.opened.intermediate.issuer()
        await mesh.stop(node)
        (mesh.folder / "n1").rename(tmp_path / "lost")
        again = await mesh.start("n1")
        assert again.opened.intermediate.issuer().key != before.key
        assert (await again.local.enrol(order(keys.new_private_key()))).spiffe_id == REVIEWS

    run(scenario)


# -------------------------------------------------------------------------------------- offline roots


def test_with_an_offline_root_nothing_is_signed_before_the_operator_did(tmp_path: Path) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(offline=True)
        with pytest.raises(AtollError, match="no root yet") as raised:
            await node.local.enrol(order(keys.new_private_key()))
        assert raised.value.code is Code.UNAVAILABLE
        root = OfflineRoot(tmp_path / "root", mesh.clock)
        shown = await node.operator.create(CreateOrder(root.make(DOMAIN)))
        assert shown.roots[0].offline
        await until(lambda: _waiting(node), "the node's request")
        with pytest.raises(AtollError, match="waits for the offline root") as raised:
            await node.local.enrol(order(keys.new_private_key()))
        assert raised.value.code is Code.UNAVAILABLE
        await _sign(node, root)
        issued = await node.local.enrol(order(keys.new_private_key()))
        assert certificates.is_signed_by(certificates.split(issued.chain)[1], root.make(DOMAIN))
        assert root.certificate_file.read_text() == issued.bundle.roots
        assert stat.S_IMODE((tmp_path / "root" / "root.key").stat().st_mode) == 0o600

    run(scenario)


def _waiting(node: Node) -> list[str]:
    return [each.node for each in node.authority.shown().intermediates if each.request]


async def _sign(node: Node, root: OfflineRoot) -> None:
    for each in (await node.operator.show()).intermediates:
        if each.request:
            signed = root.sign(each.request, each.node)
            await node.operator.put_intermediate(IntermediateOrder(each.node, signed))


def test_an_offline_root_is_exchanged_while_the_old_intermediate_goes_on(tmp_path: Path) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(offline=True)
        old, new = OfflineRoot(tmp_path / "old", mesh.clock), OfflineRoot(tmp_path / "new", mesh.clock)
        await node.operator.create(CreateOrder(old.make(DOMAIN)))
        await until(lambda: _waiting(node), "the node's request")
        await _sign(node, old)
        await node.operator.rotate(RotateOrder(new.make(DOMAIN), automatic=False))
        await node.operator.advance(AdvanceOrder())
        await until(lambda: _waiting(node), "a request to the new root")
        issued = await node.local.enrol(order(keys.new_private_key()))
        assert certificates.is_signed_by(certificates.split(issued.chain)[1], old.make(DOMAIN))
        with pytest.raises(AtollError, match="node n1"):
            await node.operator.advance(AdvanceOrder())
        await _sign(node, new)
        await node.local.enrol(order(keys.new_private_key(), replaces=issued.serial))
        await until(lambda: not node.authority.shown().waits_for, "nobody to stand under the old root")
        assert stages(await node.operator.advance(AdvanceOrder())) == [Stage.SIGNING]

    run(scenario)


def test_an_intermediate_that_is_no_answer_is_refused(tmp_path: Path) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(offline=True)
        root = OfflineRoot(tmp_path / "root", mesh.clock)
        stranger = OfflineRoot(tmp_path / "stranger", mesh.clock)
        stranger.make(DOMAIN)
        await node.operator.create(CreateOrder(root.make(DOMAIN)))
        await until(lambda: _waiting(node), "the node's request")
        request = node.authority.shown().intermediates[0].request
        other = requests.make(keys.new_private_key())
        for certificate, named in (
            (stranger.sign(request, "n1"), "not signed by a root"),
            (root.sign(other, "n1"), "not for the key"),
            (root.make(DOMAIN), "not for the key"),
            ("nonsense", "not a certificate"),
        ):
            with pytest.raises(AtollError, match=named) as raised:
                await node.operator.put_intermediate(IntermediateOrder("n1", certificate))
            assert raised.value.code is Code.INVALID
        with pytest.raises(AtollError, match="no request that waits"):
            await node.operator.put_intermediate(IntermediateOrder("n2", root.sign(request, "n2")))

    run(scenario)


@pytest.mark.parametrize("what", ["leaf", "ended", "two", "nonsense"])
def test_what_is_no_root_is_refused(what: str) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(offline=True)
        now_s = mesh.clock.wall_s()
        key = keys.new_private_key()
        root = authorities.root(DOMAIN, key, keys.new_serial(), now_s)
        leaf = Profile(keys.new_serial(), now_s, 60.0, uri=REVIEWS)
        texts = {
            "leaf": certificates.self_sign(key, leaf),
            "ended": authorities.root(DOMAIN, key, keys.new_serial(), now_s - 3700 * DAY_S).certificate,
            "two": root.certificate * 2,
            "nonsense": "nonsense",
        }
        with pytest.raises(AtollError) as raised:
            await node.operator.create(CreateOrder(texts[what]))
        assert raised.value.code is Code.INVALID
        assert node.authority.shown() == AuthorityShown("")

    run(scenario)


# ------------------------------------------------------------------------------- other trust domains


def test_another_trust_domain_is_told_apart_and_forgotten_again() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        other = authorities.root("other.org", keys.new_private_key(), keys.new_serial(), mesh.clock.wall_s())
        before = await node.local.bundle()
        spiffe = bundle_map.encode_one(other.certificate)
        await node.operator.trust(TrustOrder("other.org", bundle_map.decode_one(spiffe)))
        bundle = await node.local.bundle()
        assert bundle.foreign == {"other.org": other.certificate}
        assert bundle.roots == before.roots
        assert bundle.version != before.version
        with pytest.raises(AtollError, match="is this mesh") as raised:
            await node.operator.trust(TrustOrder(DOMAIN, other.certificate))
        assert raised.value.code is Code.INVALID
        leaf = (await node.local.enrol(order(keys.new_private_key()))).chain
        with pytest.raises(AtollError, match="no authority that is in force"):
            await node.operator.trust(TrustOrder("third.org", leaf))
        await node.operator.trust(TrustOrder("other.org"))
        assert await node.local.bundle() == before

    run(scenario)


# ---------------------------------------------------------------------------------- what is told, when


def test_a_workload_hears_of_new_roots_trusts_them_and_then_says_so() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        sink = Nobody()
        agent = agent_of(node, sink)
        await agent.open()
        sink.takes = False
        version = (await node.operator.rotate(RotateOrder(automatic=False))).version
        await until(lambda: sink.held[-1].bundle.version == version, "the workload to hear of the new root")
        assert agent.held is not None
        assert agent.held.trusts == sink.held[0].bundle.version, "nobody has taken the new root in"
        assert node.authority.certificates()[0].bundle != version
        sink.takes = True
        await node.operator.trust(TrustOrder("other.org", sink.held[0].bundle.roots))
        version = node.authority.shown().version
        await until(lambda: node.authority.certificates()[0].bundle == version, "the workload to say so")
        await agent.close()

    run(scenario)


def test_everybody_renews_when_they_are_asked_to() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        agents = [agent_of(node, Nobody(), f"s{number}") for number in range(3)]
        for agent in agents:
            await agent.open()
        before = {each.serial for each in node.authority.certificates()}
        await node.operator.renew()
        await until(
            lambda: not before & {each.serial for each in node.authority.certificates()}, "all to be renewed"
        )
        assert len(node.authority.certificates()) == 3
        for agent in agents:
            await agent.close()

    run(scenario)


def test_who_joined_by_a_token_goes_on_by_its_certificate_after_a_new_start(tmp_path: Path) -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        clock, sink = BootClock(), Nobody()
        files = CredentialFiles(tmp_path / "kept", clock)
        token = join_token.parse((await node.operator.make_token(TokenOrder("reviews"))).token)
        first = Who(service="reviews", nodes=(node.xds,), token=token)
        agent = WorkloadIdentity(first, mesh_doors, KeptToo(sink, files), clock, seeded_rng(1))
        await agent.open(files.load())
        await agent.close()
        (before,) = node.authority.certificates()
        again = Who(service="reviews", nodes=(node.xds,), socket=tmp_path / "there-is-none")
        agent = WorkloadIdentity(again, mesh_doors, KeptToo(sink, files), clock, seeded_rng(1))
        await agent.open(files.load())
        assert agent.held is not None
        assert agent.held.issued.serial == before.serial
        await node.operator.renew()
        await until(lambda: agent.renewals == 1, "the renewal by the certificate that was kept")
        await until(lambda: node.authority.certificates()[0].serial != before.serial, "the ledger to know")
        assert [each.how for each in node.authority.certificates()] == ["certificate"]
        kept = files.load()
        assert kept is not None
        assert kept.issued.serial == agent.held.issued.serial
        await agent.close()

    run(scenario)


@pytest.mark.parametrize("wrong_s", [-30 * DAY_S, 0.0, 30 * DAY_S])
def test_a_workload_with_a_wrong_wall_clock_is_due_at_half_of_its_certificates_life(wrong_s: float) -> None:
    class WrongClock(BootClock):
        def wall_s(self) -> float:
            return super().wall_s() + wrong_s

    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start(ttl_s=3600.0)
        clock, sink = WrongClock(), Nobody()
        agent = agent_of(node, sink, clock=clock)
        await agent.open()
        (held,) = sink.held
        due_s = [rules.due_s(held, chance) - clock.now_s() for chance in (0.0, 1.0)]
        assert due_s == [pytest.approx(1800, abs=10), pytest.approx(1440, abs=10)]
        assert held.ends_s - clock.now_s() == pytest.approx(3600, abs=10)
        await agent.close()

    run(scenario)


def test_the_nodes_own_certificate_is_renewed_while_it_serves() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        before = node.authority.server.tls.context
        await node.authority.refresh()
        assert node.authority.server.tls.context is before
        mesh.clock.ahead_s = 0.6 * DAY_S
        await node.authority.refresh()
        after = node.authority.server.tls.context
        assert after is not before
        assert (await node.local.bundle()).version

    run(scenario)


def test_a_mesh_is_not_begun_under_one_name_and_gone_on_with_under_another() -> None:
    async def scenario(mesh: Mesh) -> None:
        await mesh.start()
        with pytest.raises(AtollError, match="was begun as cluster.local") as raised:
            await mesh.start("n2", trust_domain="elsewhere")
        assert raised.value.code is Code.INVALID

    run(scenario)


def test_bundles_are_told_at_once_and_repeated() -> None:
    async def scenario(mesh: Mesh) -> None:
        node = await mesh.start()
        seen: list[Bundle] = []

        async def follow() -> None:
            async with node.local.bundles() as lines:
                async for bundle in lines.every():
                    seen.append(bundle)

        node.tasks.start("follow", follow())
        await until(lambda: len(seen) == 1, "the bundle of now")
        await node.operator.renew()
        await until(lambda: len(seen) == 2, "the changed bundle")
        assert seen[1].renew_before_s > seen[0].renew_before_s
        assert seen[1].version == seen[0].version

    run(scenario)

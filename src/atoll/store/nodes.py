"""A node among the others: links to all of them, over which ephemeral tables are kept alike and questions are asked.

Rule: between two nodes there is one link, dialled by the one whose id is smaller; a newer link takes the place of an
older one. Links come and go without anybody waiting for them: the table says what is missing when one is there.

    nodes = Nodes(parts)
    await nodes.open()        # listens, joins, and waits (within a bound) until the others' tables have arrived
    nodes.announce(member)    # clients can be served: what the others are told of this node
    await nodes.close(within_s)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from atoll.errors import AtollError, Code
from atoll.runtime import loop, net, streams, tls
from atoll.runtime.clock import Clock
from atoll.runtime.logs import Log
from atoll.runtime.metrics import Metrics
from atoll.runtime.net import Address
from atoll.runtime.streams import Acceptor, Stream
from atoll.runtime.tasks import Tasks
from atoll.store.api import Store
from atoll.store.ephemeral import EphemeralTable
from atoll.store.membership import Membership
from atoll.store.node_link import NodeLink
from atoll.store.peers import Member, Peers
from atoll.wire.nodes.entry import Identity
from atoll.wire.nodes.messages import MESSAGE_BYTES_MAX, Answer, Ask, Hello, Message

DIAL_S_MAX = 2.0
DIAL_AGAIN_S = 0.5
SYNCED_S_MAX = 5.0  # a node that was killed a moment ago is waited for no longer
GATHER_S = 0.005  # what changes within it goes out together
IDLE_S_MAX = 0.25
ANSWERS_MAX = 1000  # waited for at a time
ANSWER_BYTES_MAX = MESSAGE_BYTES_MAX - 1024  # what is around it takes less
GREETING_MAX = 64  # connections that have not said hello yet
OPTION = "--listen-nodes"


class Certificates(msgspec.Struct, frozen=True):
    """Files (PEM); empty: links are not encrypted."""

    certificate: str = ""
    key: str = ""
    ca: str = ""


@dataclass(frozen=True)
class Place:
    """Where this node listens for others, and where they reach it if that is another address (``host:port``)."""

    listen: Address
    reached_at: str = ""
    certificates: Certificates = field(default_factory=Certificates)


@dataclass(frozen=True)
class Parts:
    """What a node among others stands on."""

    store: Store
    table: EphemeralTable
    peers: Peers
    place: Place
    clock: Clock
    tasks: Tasks


class _Active:
    """A link that is up, and what is to be said over it besides what the table says."""

    def __init__(self, link: NodeLink, who: Identity) -> None:
        self.link = link
        self.who = who
        self.wake = loop.Event()
        self.first: deque[Message] = deque()

    def say(self, message: Message) -> None:
        self.first.append(message)
        self.wake.set()


class Nodes:
    """Lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._table = parts.table
        self._members: Mapping[str, Member] = {}
        self._links: dict[Identity, _Active] = {}
        self._dialling: dict[str, None] = {}
        self._asked: dict[int, loop.Future[Answer]] = {}
        self._asks = 0
        self._acceptor: Acceptor | None = None
        self._membership: Membership | None = None
        self._greeting = 0
        self._closed = False
        self.address = parts.place.listen
        self.on_store: Callable[[bool], None] = lambda answers: None  # after every look at the store
        self._log = Log("nodes")

    async def open(self) -> None:
        """Raises ``AtollError``: the port, the certificates, the store."""
        files = self._parts.place.certificates
        secure = tls.server_context(files.certificate, files.key, files.ca) if files.certificate else None
        self._acceptor = await streams.accept(self._parts.place.listen, OPTION, secure, self._begin)
        self.address = self._acceptor.address
        address = self._parts.place.reached_at or str(self.address)
        me = msgspec.structs.replace(self._parts.peers.me, nodes=address)
        self._membership = Membership(self._parts.store, me, self._take_members)
        self._parts.peers.be(me)
        self._parts.peers.reach(self._ask)
        self._table.on_news = self._wake_all
        self._table.on_silent = self._cut
        await self._membership.join()
        start = self._parts.tasks.start
        start("membership", self._membership.run())
        start("members", self._membership.follow())
        await self._wait_synced()

    def announce(self, nacos: str, nacos_grpc: str) -> None:
        """Where this node serves clients; from now on the others may send some."""
        if self._membership is not None:
            me = msgspec.structs.replace(self._membership.me, nacos=nacos, nacos_grpc=nacos_grpc)
            self._parts.peers.be(me)
            self._membership.announce(me)

    async def close(self, within_s: float) -> None:
        """Leave: the others hear it from the store, and that the links end."""
        self._closed = True
        if self._acceptor is not None:
            self._acceptor.close()
        if self._membership is not None:
            await self._membership.leave(within_s)
        for active in self._links.values():
            active.link.cut()

    def show(self, metrics: Metrics) -> None:
        """Count what goes on among nodes."""
        table, peers, read = self._table, self._parts.peers, metrics.read_on_scrape
        read("atoll_nodes_members", "Nodes of the cluster.", (), lambda: [((), len(peers.members()))])
        read("atoll_nodes_links", "Nodes that this one is linked with.", (), lambda: [((), len(self._links))])
        read("atoll_ephemeral_keys", "Keys in the ephemeral table.", (), lambda: [((), len(table))])
        read(
            "atoll_ephemeral_events_total",
            "Of copies of other nodes' tables: batches taken, gaps, repairs, origins removed.",
            ("event",),
            lambda: [((name,), count) for name, count in vars(table.counts).items()],
        )

    async def _wait_synced(self) -> None:
        end_s = self._parts.clock.now_s() + SYNCED_S_MAX
        while not self._table.is_synced:
            if self._parts.clock.now_s() > end_s:
                self._log.warning("begins without the tables of all members", within_s=SYNCED_S_MAX)
                return
            await loop.sleep(0.02)

    # -------------------------------------------------------------------------------------------- members

    def _take_members(self, members: Mapping[str, Member] | None) -> None:
        self.on_store(members is not None)
        if members is None:
            self._table.know_members(None)
            return
        self._members = members
        self._parts.peers.take(members)
        self._table.know_members({node: each.incarnation for node, each in members.items()})
        for node in members:
            if node > self._table.node_id and node not in self._dialling:
                self._dialling[node] = None
                self._parts.tasks.start(f"link to node {node}", self._dial(node))

    async def _dial(self, node: str) -> None:
        """Keep a link to ``node`` for as long as it is a member."""
        try:
            while not self._closed and (member := self._members.get(node)) is not None:
                try:
                    await self._dial_once(member)
                except AtollError as error:
                    self._log.debug("no link", node=node, why=error.message)
                await loop.sleep(DIAL_AGAIN_S)
        finally:
            del self._dialling[node]

    async def _dial_once(self, member: Member) -> None:
        files = self._parts.place.certificates
        secure = tls.peer_context(files.certificate, files.key, files.ca) if files.certificate else None
        address = net.parse_address(member.nodes)
        try:
            stream = await streams.connect(address.host, address.port, secure, DIAL_S_MAX)
        except OSError as error:
            self._log.debug("not reached", node=member.node, address=member.nodes, why=str(error))
            return
        await self._serve(stream)

    # ---------------------------------------------------------------------------------------------- links

    def _begin(self, stream: Stream) -> None:
        if self._greeting >= GREETING_MAX:
            stream.cut()
            return
        self._parts.tasks.start("link from a node", self._serve(stream))

    async def _serve(self, stream: Stream) -> None:
        """A link from its beginning to its end, whoever dialled."""
        link = NodeLink(stream)
        try:
            theirs = await self._greet(link)
            if theirs.who.node != self._table.node_id:
                await self._run(_Active(link, theirs.who))
        except AtollError as error:
            self._log.info("a link ended", why=error.message)
        finally:
            link.cut()

    async def _greet(self, link: NodeLink) -> Hello:
        self._greeting += 1
        try:
            secret = self._membership.cluster if self._membership is not None else ""
            if not secret:
                raise AtollError(Code.UNAVAILABLE, "this node has not joined yet", retry_after_s=DIAL_AGAIN_S)
            return await link.greet(Hello(self._table.identity), secret)
        finally:
            self._greeting -= 1

    async def _run(self, active: _Active) -> None:
        who = active.who
        if (older := self._links.get(who)) is not None:
            older.link.cut()
        self._links[who] = active
        self._table.link_up(who)
        self._log.info("linked", node=who.node, run=who.incarnation)
        sending = self._parts.tasks.start(f"sending to node {who.node}", self._send(active))
        try:
            while (message := await active.link.receive()) is not None:
                self._receive(active, message)
        finally:
            sending.cancel()
            if self._links.get(who) is active:
                del self._links[who]
                self._table.link_down(who)
                self._log.info("not linked any more", node=who.node, run=who.incarnation)

    async def _send(self, active: _Active) -> None:
        try:
            while True:
                message = active.first.popleft() if active.first else self._table.next_message(active.who)
                if message is not None:
                    await active.link.send(message)
                elif await loop.wait_event(active.wake, IDLE_S_MAX):
                    await loop.sleep(GATHER_S)
                    active.wake.clear()
        except AtollError:
            active.link.cut()  # whoever receives sees the end

    def _receive(self, active: _Active, message: Message) -> None:
        if isinstance(message, Ask):
            self._parts.tasks.start(f"answer to node {active.who.node}", self._answer(active, message))
        elif isinstance(message, Answer):
            asked = self._asked.get(message.number)
            if asked is not None and not asked.done():
                asked.set_result(message)
        else:
            self._table.receive(active.who, message)

    def _wake_all(self) -> None:
        for active in self._links.values():
            active.wake.set()

    def _cut(self, peer: Identity) -> None:
        active = self._links.pop(peer, None)
        if active is not None:
            self._log.warning("a node is silent", node=peer.node)
            active.link.cut()

    # ----------------------------------------------------------------------------------------------- asks

    async def _answer(self, active: _Active, ask: Ask) -> None:
        try:
            body = await self._parts.peers.answer(ask.kind, ask.body)
        except (AtollError, msgspec.MsgspecError) as error:  # another release may ask in other words
            active.say(Answer(ask.number, refused=str(error)))
            return
        if len(body) > ANSWER_BYTES_MAX:
            text = f"the answer to {ask.kind!r} has {len(body)} bytes; at most {ANSWER_BYTES_MAX} are sent"
            self._log.warning("not answered", why=text)
            active.say(Answer(ask.number, refused=text))
            return
        active.say(Answer(ask.number, body))

    async def _ask(self, kind: str, body: bytes, within_s: float) -> Mapping[str, bytes]:
        """The answers of all nodes that are linked; who does not answer in time is left out."""
        asked = [self._ask_one(active, kind, body, within_s) for active in list(self._links.values())]
        found = await loop.gather(*asked)
        return {node: answer.body for node, answer in found if answer is not None and not answer.refused}

    async def _ask_one(
        self, active: _Active, kind: str, body: bytes, within_s: float
    ) -> tuple[str, Answer | None]:
        node = active.who.node
        if len(self._asked) >= ANSWERS_MAX:
            return node, None
        self._asks += 1
        number = self._asks
        answered = self._asked[number] = loop.new_future()
        active.say(Ask(number, kind, body))
        try:
            async with loop.bounded(within_s, f"the answer of node {node}"):
                return node, await answered
        except AtollError:
            return node, None
        finally:
            del self._asked[number]

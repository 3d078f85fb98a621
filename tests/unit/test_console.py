"""The console's page: what it shows, and that nothing in the store can become markup on it."""

from __future__ import annotations

from atoll.client.node import Client
from atoll.console import pages
from atoll.errors import AtollError, Code
from atoll.resources.election_views import CandidateView, ElectionView, LeaderView, TermView
from atoll.resources.node import Lease, Leases, Listener, Node, StoreStatus
from atoll.runtime import http_local, loop
from atoll.runtime.http_client import HttpRequest

EVIL = '<script>alert("x")</script>'


def seen(name: str) -> pages.Seen:
    node = Node(
        "1",
        7,
        1.0,
        0.2,
        1_048_576,
        "/d",
        False,
        "sqlite:/d",
        (Listener("api", "a:1", False),),
        (),
        (),
        {},
        (name,),
    )
    store = StoreStatus("sqlite:/d", 9, 0, 0, 10, 5, "3.4.0", (), 1)
    leader = LeaderView(name, name, "0.2", name, "1f", True)
    term = TermView("0.2", name, 1.0, 0.0, "")
    election = ElectionView(name, leader, (CandidateView(name, 0, "1f", 2),), False, "", 9, (term,))
    return pages.Seen(node, store, [election], Leases(1, (Lease("1f", 3, 2, (name,)),)))


def test_everything_is_on_the_page() -> None:
    page = pages.page(seen("demo"))
    for text in ("demo", "sqlite:/d", "0.2", "2 of 3 s", "1.0 MiB", "goes on", "open to every local user"):
        assert text in page


def test_nothing_in_the_store_becomes_markup() -> None:
    page = pages.page(seen(EVIL))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;") == 5


def test_a_node_that_is_starting_is_said_to_be() -> None:
    def no_client() -> Client:
        raise AtollError(Code.UNAVAILABLE, "the node is starting")

    async def ask(method: str) -> tuple[int, bytes, dict[str, str]]:
        application = pages.pages(no_client)["/"]
        answer = await http_local.ask(application, HttpRequest(method, "/", {}), "h")
        return answer.status, await answer.body(), answer.headers

    status, body, headers = loop.run(ask("GET"))
    assert (status, b"the node is starting" in body) == (503, True)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert loop.run(ask("POST"))[0] == 405

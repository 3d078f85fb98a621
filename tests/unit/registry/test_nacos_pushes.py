"""The queue of what one Nacos client is told: matched, coalesced, repeated, bounded."""

from __future__ import annotations

import json
from collections.abc import Callable

from atoll.planes.registry.frontends.nacos_grpc.pushes import (
    CONFIG_CHANGED,
    NOTIFY_SUBSCRIBER,
    TRIES_MAX,
    Kind,
    Message,
    Outbox,
    Outcome,
    PushQueue,
)
from atoll.wire.nacos import payload


class Client:
    """The other end: keeps what it was sent, and takes in as much as it is told to."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.takes_in = True
        self.queue = PushQueue(self.outbox, self._receive)
        self.received: list[tuple[str, str]] = []  # request id, content
        self.outcomes: list[tuple[str, Outcome]] = []

    def _receive(self, data: bytes) -> bool:
        body = json.loads(payload.decode(data).body)
        self.received.append((body["requestId"], body["content"]))
        return self.takes_in

    def tell(self, key: str, content: str, now_s: float = 0.0, kind: Kind = CONFIG_CHANGED) -> None:
        body = b'{"content":"%b"}' % content.encode()
        self.queue.offer(Message(kind, key, lambda: body, self._ended(content)), now_s)

    def _ended(self, content: str) -> Callable[[Outcome], None]:
        return lambda outcome: self.outcomes.append((content, outcome))

    def contents(self) -> list[str]:
        return [content for _, content in self.received]

    def answer(self, position: int = -1, now_s: float = 0.0, succeeded: bool = True) -> bool:
        return self.queue.acknowledge(self.received[position][0], succeeded, now_s)


def test_an_answer_is_matched_by_its_request_alone() -> None:
    client = Client()
    client.tell("a", "a1")
    client.tell("b", "b1")
    assert client.answer(position=1)
    assert client.outcomes == [("b1", Outcome.ACKNOWLEDGED)]
    assert not client.queue.acknowledge("no such request", True, 0.0)
    assert not client.answer(position=1), "only once"
    assert client.answer(position=0)
    assert client.queue.held == 0


def test_request_ids_are_unique_over_all_clients_of_a_node() -> None:
    outbox = Outbox()
    sent: list[str] = []

    def send(data: bytes) -> bool:
        sent.append(json.loads(payload.decode(data).body)["requestId"])
        return True

    for _ in range(3):
        queue = PushQueue(outbox, send)
        queue.offer(Message(CONFIG_CHANGED, "k", lambda: b'{"a":1}'), 0.0)
    assert len(set(sent)) == 3


def test_while_one_is_on_its_way_only_the_newest_waits() -> None:
    client = Client()
    for number in range(100):
        client.tell("a", f"a{number}")
    assert client.contents() == ["a0"]
    assert client.queue.held == 2, "one on its way, one waiting"
    client.answer()
    assert client.contents() == ["a0", "a99"]
    assert client.outcomes.count(("a50", Outcome.DROPPED)) == 1


def test_a_client_that_takes_in_nothing_costs_one_message_a_thing() -> None:
    client = Client()
    client.takes_in = False
    for number in range(10_000):
        client.tell(f"k{number % 10}", str(number))
    assert len(client.received) == 1
    assert client.queue.held <= 11
    client.takes_in = True
    client.queue.room(0.0)
    assert sorted(client.contents()[1:]) == [str(number) for number in range(9_991, 10_000)]
    client.answer(position=0)
    assert client.contents()[-1] == "9990"


def test_a_configuration_push_is_repeated_ever_more_slowly() -> None:
    client = Client()
    client.tell("a", "a1", 100.0)
    sent_s = []
    for tenth in range(1_000, 1_230):
        before = len(client.received)
        client.outbox.tick(tenth / 10)
        if len(client.received) > before:
            sent_s.append(tenth / 10)
    assert sent_s == [105.0, 112.0, 121.0], "3 s for an answer, then a pause of 2, 4, 6 s"
    assert client.contents() == ["a1"] * 4
    client.answer(now_s=123.0)
    assert client.outcomes == [("a1", Outcome.ACKNOWLEDGED)]


def test_what_is_repeated_is_the_newest() -> None:
    client = Client()
    client.tell("a", "a1", 0.0)
    client.tell("a", "a2", 1.0)
    client.outbox.tick(3.0)
    assert client.contents() == ["a1", "a2"]
    client.outbox.tick(6.0)
    client.tell("a", "a3", 6.5)
    assert client.contents() == ["a1", "a2", "a3"], "news need not wait for the pause"


def test_a_list_is_repeated_by_whoever_made_it() -> None:
    client = Client()
    client.tell("s", "s1", 0.0, NOTIFY_SUBSCRIBER)
    client.outbox.tick(4.9)
    assert not client.outcomes
    client.outbox.tick(5.0)
    assert client.outcomes == [("s1", Outcome.FAILED)]
    assert client.queue.held == 0
    assert not client.answer(), "too late"


def test_a_refusal_is_a_failure() -> None:
    client = Client()
    client.tell("s", "s1", 0.0, NOTIFY_SUBSCRIBER)
    client.answer(succeeded=False)
    assert client.outcomes == [("s1", Outcome.FAILED)]


def test_a_client_that_never_answers_is_given_up() -> None:
    client = Client()
    now_s = 0.0
    client.tell("a", "a0", now_s)
    for number in range(TRIES_MAX):
        now_s += 3.0
        client.outbox.tick(now_s)
        assert not client.queue.gave_up
        client.tell("a", f"a{number}", now_s)
    client.outbox.tick(now_s + 3.0)
    assert client.queue.gave_up
    assert client.outcomes[-1][1] is Outcome.FAILED


def test_what_there_is_nothing_to_say_of_is_not_sent() -> None:
    client = Client()
    client.queue.offer(Message(CONFIG_CHANGED, "k", lambda: None, client._ended("k")), 0.0)
    assert not client.received
    assert client.outcomes == [("k", Outcome.DROPPED)]
    assert client.queue.held == 0


def test_what_was_overtaken_is_never_encoded() -> None:
    client = Client()
    client.tell("a", "first")

    def never() -> bytes:
        raise AssertionError("encoded although overtaken")

    client.queue.offer(Message(CONFIG_CHANGED, "a", never), 0.0)
    client.tell("a", "last")
    client.answer()
    assert client.contents() == ["first", "last"]


def test_a_forgotten_key_is_not_sent_later() -> None:
    client = Client()
    client.tell("a", "a1")
    client.tell("a", "a2")
    client.queue.forget("a")
    client.answer()
    client.tell("b", "b1")
    client.outbox.tick(3.0)
    client.queue.forget("b")
    client.outbox.tick(10.0)
    assert client.contents() == ["a1", "b1"]
    assert ("a2", Outcome.DROPPED) in client.outcomes
    assert ("b1", Outcome.DROPPED) in client.outcomes


def test_the_end_of_the_connection_fails_all_that_was_not_acknowledged() -> None:
    client = Client()
    client.tell("a", "a1")
    client.tell("a", "a2")
    client.tell("b", "b1")
    client.answer(succeeded=False)
    client.queue.close()
    assert dict(client.outcomes) == dict.fromkeys(("a1", "a2", "b1"), Outcome.FAILED)
    client.tell("c", "c1")
    assert client.outcomes[-1] == ("c1", Outcome.FAILED)
    client.outbox.tick(100.0)
    assert client.contents() == ["a1", "b1"]
    assert client.queue.held == 0

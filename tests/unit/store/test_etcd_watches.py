"""All watches on one stream: whose answer is whose."""

from __future__ import annotations

from typing import Any

from atoll.errors import AtollError, Code, Reason
from atoll.store.api import Watch, WatchBatch
from atoll.store.etcd_watches import Heard, Watches
from atoll.store.watch_resume import Told
from atoll.wire.etcd import messages

PERMISSION_DENIED = "rpc error: code = PermissionDenied desc = etcdserver: permission denied"


class Sink(list[Told]):
    """A watch sink that remembers."""

    def __call__(self, told: Told) -> None:
        self.append(told)


def answer(watch_id: int, revision: int = 5, **fields: Any) -> Any:
    return messages.WatchResponse(
        header=messages.ResponseHeader(revision=revision), watch_id=watch_id, **fields
    )


def put(revision: int) -> Any:
    return messages.Event(kv=messages.KeyValue(key=b"k", mod_revision=revision, version=1))


def deliver(heard: Heard) -> None:
    for sink, told in heard.deliveries:
        sink(told)


def test_watches_are_created_when_the_stream_opens_and_again_where_they_were() -> None:
    watches, sink = Watches(with_token=False), Sink()
    assert watches.add(1, Watch(b"a"), sink) == []
    assert watches.add(2, Watch(b"b", start_revision=9), sink) == []
    creates = [message.create_request for message in watches.opened()]
    assert [(one.watch_id, one.key, one.start_revision) for one in creates] == [(1, b"a", 0), (2, b"b", 9)]
    assert all(one.progress_notify and one.fragment for one in creates)
    deliver(watches.heard(answer(1, created=True)))
    deliver(watches.heard(answer(1, events=[put(6)])))
    watches.lost()
    creates = [message.create_request for message in watches.opened()]
    assert [(one.watch_id, one.start_revision) for one in creates] == [(1, 7), (2, 9)]


def test_a_watch_added_to_an_open_stream_is_created_at_once() -> None:
    watches = Watches(with_token=False)
    watches.opened()
    (message,) = watches.add(4, Watch(b"a", no_put=True), Sink())
    assert list(message.create_request.filters) == [messages.WatchCreateRequest.NOPUT]


def test_answers_go_to_their_own_watch() -> None:
    watches, one, two = Watches(with_token=False), Sink(), Sink()
    watches.opened()
    watches.add(1, Watch(b"a"), one)
    watches.add(2, Watch(b"b"), two)
    deliver(watches.heard(answer(2, created=True)))
    assert (one, two) == ([], [WatchBatch(5)])


def test_after_cancel_nothing_is_told() -> None:
    watches, sink = Watches(with_token=False), Sink()
    watches.opened()
    watches.add(1, Watch(b"a"), sink)
    (message,) = watches.cancel(1)
    assert message.cancel_request.watch_id == 1
    deliver(watches.heard(answer(1, created=True)))
    assert (sink, watches.cancel(1), len(watches)) == ([], [], 0)


def test_a_stream_wide_progress_report_moves_nobody() -> None:
    watches, sink = Watches(with_token=False), Sink()
    watches.add(1, Watch(b"a"), sink)
    watches.opened()
    watches.heard(answer(1, created=True))
    deliver(watches.heard(answer(-1, revision=50)))
    watches.lost()
    assert sink == []
    assert watches.opened()[0].create_request.start_revision == 6


def test_a_creation_refused_without_an_id_is_the_oldest_one_that_is_open() -> None:
    watches, one, two = Watches(with_token=False), Sink(), Sink()
    watches.opened()
    watches.add(1, Watch(b"a"), one)
    watches.add(2, Watch(b"z", b"a"), two)
    deliver(watches.heard(answer(1, created=True)))
    deliver(
        watches.heard(answer(-1, created=True, canceled=True, cancel_reason="mvcc: watcher range is empty"))
    )
    assert [type(told) for told in one + two] == [WatchBatch, AtollError]
    assert len(watches) == 1


def test_the_first_denial_doubts_the_token_and_the_second_counts() -> None:
    watches, sink = Watches(with_token=True), Sink()
    watches.opened()
    watches.add(1, Watch(b"a"), sink)
    denial = answer(1, created=True, canceled=True, cancel_reason=PERMISSION_DENIED)
    assert watches.heard(denial).token_doubted
    watches.lost()
    watches.opened()
    heard = watches.heard(denial)
    assert not heard.token_doubted
    deliver(heard)
    (told,) = sink
    assert isinstance(told, AtollError)
    assert (told.code, told.reason) == (Code.DENIED, Reason.PERMISSION_DENIED)


def test_a_denial_long_after_an_accepted_creation_doubts_the_token_again() -> None:
    watches = Watches(with_token=True)
    watches.opened()
    watches.add(1, Watch(b"a"), Sink())
    denial = answer(1, created=True, canceled=True, cancel_reason=PERMISSION_DENIED)
    assert watches.heard(denial).token_doubted
    watches.heard(answer(1, created=True))
    assert watches.heard(denial).token_doubted


def test_without_a_token_a_denial_counts_at_once() -> None:
    watches, sink = Watches(with_token=False), Sink()
    watches.opened()
    watches.add(1, Watch(b"a"), sink)
    deliver(watches.heard(answer(1, created=True, canceled=True, cancel_reason=PERMISSION_DENIED)))
    assert len(sink) == 1


def test_the_end_is_told_to_all() -> None:
    watches, one, two = Watches(with_token=False), Sink(), Sink()
    watches.add(1, Watch(b"a"), one)
    watches.add(2, Watch(b"b"), two)
    over = AtollError(Code.UNAVAILABLE, "closed", reason=Reason.CLOSED)
    for sink, told in watches.end(over):
        sink(told)
    assert (one, two, len(watches)) == ([over], [over], 0)

"""The ephemeral table on a running loop: acts are seen at once, and time is kept by ``run``."""

from __future__ import annotations

from atoll.runtime import loop
from atoll.runtime.clock import BootClock
from atoll.runtime.logs import Log
from atoll.runtime.tasks import Tasks
from atoll.store.ephemeral import Change, Damping, EphemeralTable, Identity, Times

QUICK = Times(Damping(unhealthy_after_s=0.02, removed_after_s=0.05))


def test_a_broken_client_is_marked_and_removed_without_anybody_asking() -> None:
    async def story() -> None:
        failures: list[BaseException] = []
        tasks = Tasks(Log("test"), lambda name, error: failures.append(error))
        table = EphemeralTable(Identity("a", 1), BootClock(), QUICK)
        tasks.start("table", table.run())
        changes: loop.Queue[Change | None] = loop.Queue()

        def sink(heard: object) -> None:
            assert isinstance(heard, list)
            for change in heard:
                changes.put_nowait(change)

        table.watch(b"", sink)
        table.put("c1", b"k", b"v")
        table.drop_client("c1", clean=False)
        seen = [await loop.next_within(changes, 5.0) for _ in range(3)]
        afters = [change.after for change in seen if change is not None]
        assert [after and (after.value, after.lost) for after in afters] == [
            (b"v", False),
            (b"v", True),
            None,
        ]
        assert len(table) == 0
        await tasks.stop(1.0)
        assert not failures

    loop.run(story())

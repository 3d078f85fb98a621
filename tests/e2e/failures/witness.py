"""A process that writes down everything that happens in one election: ``python -m tests.e2e.failures.witness``.

It watches the queue's keys and the leader-only writes, and appends each event to a file as a line of JSON, with the
boot-time clock of its arrival. It judges nothing; ``history.py`` does, in the order of the store's revisions.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path

from atoll.errors import AtollError
from atoll.runtime.clock import BootClock
from atoll.store.api import Event, Watch, WatchBatch, prefix_end
from atoll.store.open import open_store


def line_of(event: Event, heard_s: float) -> str:
    kv = event.kv
    fields = {
        "heard_s": heard_s,
        "revision": kv.mod_revision,
        "key": kv.key.decode(),
        "create_revision": kv.create_revision,
        "deleted": event.is_delete,
        "value": kv.value.decode(errors="replace"),
    }
    return json.dumps(fields) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("store", "election", "out"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    failed = threading.Event()
    clock = BootClock()
    prefix = options.election.encode()
    with Path(options.out).open("a") as out:

        def hear(told: WatchBatch | AtollError) -> None:
            if isinstance(told, AtollError):
                out.write(json.dumps({"failed": str(told)}) + "\n")
                failed.set()
            else:
                out.writelines(line_of(event, clock.now_s()) for event in told.events)
                if not told.events and not told.resumed:
                    out.write(json.dumps({"watching": told.revision}) + "\n")
            out.flush()

        driver = open_store(options.store)
        driver.watch(Watch(prefix, prefix_end(prefix)), hear)
        failed.wait()


if __name__ == "__main__":
    main()

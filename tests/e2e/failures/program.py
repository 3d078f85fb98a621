"""A program for ``atoll lead``: stamps while it runs, and writes by the token that it was given, until it is killed.

Unlike ``candidate`` it cannot ask whether its term holds: that it runs at all is its right to act. The stamps begin
at once, before anything else is loaded: run it as a file, with ``python -S``.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time

STAMP_EVERY_S = 0.001
WRITE_EVERY_S = 0.01
WRITE_TIMEOUT_S = 1.0
NEVER = threading.Event()


def stamp(folder: str) -> None:
    name = "-".join([os.environ["ATOLL_TOKEN"], os.environ["ATOLL_LEAD_ID"], str(os.getpid())])
    file = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT)
    first_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    while True:
        os.pwrite(file, struct.pack("<qq", first_ns, time.clock_gettime_ns(time.CLOCK_BOOTTIME)), 0)
        NEVER.wait(STAMP_EVERY_S)


def write() -> None:
    import json
    import site

    site.main()  # what -S left out
    from atoll.resources.election import Token
    from atoll.store.api import Put, Txn
    from atoll.store.open import open_store
    from atoll.store.term import fence

    generation, revision = (int(part) for part in os.environ["ATOLL_TOKEN"].split("."))
    guards = fence(os.environ["ATOLL_KEY"].encode(errors="surrogateescape"), Token(generation, revision))
    key = f"{os.environ['ATOLL_LEAD_NAME']}-writes".encode()
    value = {"token": os.environ["ATOLL_TOKEN"], "candidate": os.environ["ATOLL_LEAD_ID"]}
    driver = open_store(os.environ["ATOLL_LEAD_STORE"])
    answered = threading.Event()
    while True:
        answered.clear()
        put = Put(key, json.dumps(value).encode())
        driver.submit(Txn(guards, (put,)), lambda _outcome: answered.set(), WRITE_TIMEOUT_S)
        answered.wait()
        NEVER.wait(WRITE_EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=stamp, args=(sys.argv[1],), daemon=True).start()
    write()

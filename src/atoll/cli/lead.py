"""``atoll lead``: run a program only while this process leads.

Rule: everything before ``--`` is about the election, everything after it is the program. See
docs/explanation/lead.md for what is guaranteed and what is not.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from dataclasses import replace
from typing import Any

from atoll.errors import AtollError, Code
from atoll.host import catalog
from atoll.host.lead.machine import Again, Rules
from atoll.host.lead.supervisor import Order, Supervisor
from atoll.host.settings import Settings
from atoll.runtime import logs, loop
from atoll.runtime.clock import BootClock
from atoll.store.candidate import Candidacy

STORE_DEFAULT = "etcd://127.0.0.1:2379"
STORE_VARIABLE = "ATOLL_LEAD_STORE"
TTL_S_DEFAULT = 10
GRACE_OF_TTL = 0.25
STOP_WITHIN_S_DEFAULT = 10.0
EXIT_NOT_FOUND = 127


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "lead",
        help="run a program only while this process leads",
        usage="atoll lead NAME [options] -- PROGRAM [ARGUMENT ...]",
        description="Run PROGRAM only while this process leads the election NAME.",
    )
    parser.add_argument("name", metavar="NAME", help="the election")
    parser.add_argument("program", nargs="+", metavar="PROGRAM", help="after --: what to run")
    option = parser.add_argument
    option(
        "--ttl", type=int, default=TTL_S_DEFAULT, metavar="S", help="lease in seconds (default %(default)s)"
    )
    option("--priority", type=int, default=0, metavar="N", help="the highest stands first (default 0)")
    option("--id", default="", help="name of this candidate (default HOST-PID)")
    option(
        "--store", default="", metavar="URL", help=f"the store ({STORE_VARIABLE}; default {STORE_DEFAULT})"
    )
    option(
        "--grace", type=float, metavar="S", help="TERM comes so long before the deadline (default TTL / 4)"
    )
    option(
        "--stop-within", type=float, default=STOP_WITHIN_S_DEFAULT, metavar="S", help="time to end after TERM"
    )
    option(
        "--again",
        choices=[each.value for each in Again],
        default=Again.FAILURE.value,
        help="campaign again after the program ended by itself: on failure (default), always, never",
    )
    option("--log-level", choices=list(logs.LEVELS), default="info", help="default %(default)s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    logs.set_up(options.log_level)
    url = options.store or os.environ.get(STORE_VARIABLE) or STORE_DEFAULT
    order = _order(options, url)
    if shutil.which(options.program[0]) is None:
        sys.stderr.write(f"atoll lead: no such program: {options.program[0]}\n")
        return EXIT_NOT_FOUND
    opened = catalog.open_store(replace(Settings(), store_url=url))
    try:
        return loop.run(_lead(replace(order, store=opened.url), opened))
    finally:
        opened.close()


async def _lead(order: Order, opened: catalog.OpenStore) -> int:
    return await Supervisor(order, opened.driver, BootClock(), logs.Log("lead")).run()


def _order(options: argparse.Namespace, url: str) -> Order:
    """Raises INVALID for what cannot work, before anything is started."""
    if not url.startswith("etcd"):
        message = f"--store {url}: no other process can share it; start `atoll up` and use {STORE_DEFAULT}"
        raise AtollError(Code.INVALID, message)
    grace_s = options.ttl * GRACE_OF_TTL if options.grace is None else options.grace
    if not 0 <= grace_s < options.ttl / 2 or options.stop_within < 0:
        raise AtollError(
            Code.INVALID, "--grace must be from 0 to below half the TTL, --stop-within at least 0"
        )
    candidacy = Candidacy(
        name=options.name,
        candidate=options.id or f"{platform.node()}-{os.getpid()}",
        ttl_s=options.ttl,
        priority=options.priority,
        quiesce_s_max=options.stop_within,
    )
    rules = Rules(float(options.ttl), grace_s, options.stop_within, Again(options.again))
    return Order(candidacy, rules, tuple(options.program), url)

"""``atoll mesh upgrade``: let the sidecars of this machine run the Envoy that is installed now.

Rule: one after the other, and the next only when the one before has taken over: what goes wrong goes wrong once. No
request is lost on the way (``host.sidecar.machine``).
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from atoll.errors import AtollError, Code
from atoll.host.sidecar import folder as folders
from atoll.host.sidecar.folder import About, Folder
from atoll.runtime import loop
from atoll.runtime.clock import BootClock

WITHIN_S_DEFAULT = 60.0
POLL_S = 0.05


def add(actions: Any) -> None:
    text = "run the Envoy that is installed now, in the sidecars of this machine"
    parser = actions.add_parser(
        "upgrade", help=text, description=text.capitalize() + ", without losing a request."
    )
    parser.add_argument("service", nargs="?", default="", metavar="SERVICE", help="only its sidecars")
    parser.add_argument(
        "--within", type=float, default=WITHIN_S_DEFAULT, metavar="S", help="for each; default: %(default)s"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    chosen = [(about, folder) for about, folder in folders.every() if options.service in ("", about.service)]
    if not chosen:
        whose = f"a sidecar of {options.service}" if options.service else "a sidecar"
        raise AtollError(Code.NOT_FOUND, f"{whose} of this user does not run on this machine")
    for about, folder in chosen:
        loop.run(_upgrade(about, folder, options.within))
    return 0


async def _upgrade(about: About, folder: Folder, within_s: float) -> None:
    """Raises UNAVAILABLE where the new one did not take over; the old one goes on then."""
    clock = BootClock()
    until_s = clock.now_s() + within_s
    try:
        os.kill(about.pid, signal.SIGHUP)
    except ProcessLookupError as error:
        raise AtollError(Code.NOT_FOUND, f"{about.node} has ended") from error
    while (now := folder.about()) is None or now.epoch <= about.epoch:
        if clock.now_s() >= until_s:
            text = f"{about.node}: no new Envoy took over within {within_s:g} s, {about.envoy} goes on; see its log"
            raise AtollError(Code.UNAVAILABLE, text)
        await loop.sleep(POLL_S)
    sys.stdout.write(f"{about.node}: {about.envoy} -> {now.envoy}\n")

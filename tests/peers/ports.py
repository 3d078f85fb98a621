"""Free ports of the loopback address, alone or with a free neighbour at a distance."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack

PAIRS_FROM, PAIRS_TO = 20_000, 30_000


def free_ports(count: int) -> list[int]:
    """``count`` different ports that were free just now; whoever listens on them may still lose a race."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def free_pairs(count: int, distance: int) -> list[int]:
    """``count`` ports of which the port ``distance`` above was free as well. Below the range from which the system
    takes its own, so that a pair is lost to nobody by chance.
    """
    found: list[int] = []
    with ExitStack() as stack:
        for port in _shuffled(PAIRS_FROM, PAIRS_TO):
            if len(found) == count:
                break
            if all(_is_bound(stack, each) for each in (port, port + distance)):
                found.append(port)
    if len(found) < count:
        raise AssertionError(f"fewer than {count} pairs of free ports {distance} apart")
    return found


def _shuffled(first: int, last: int) -> list[int]:
    """Another order in every process, so that test runs side by side seldom try the same port."""
    ports = list(range(first, last))
    random.Random(os.getpid()).shuffle(ports)
    return ports


def _is_bound(stack: ExitStack, port: int) -> bool:
    one = stack.enter_context(socket.socket())
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True

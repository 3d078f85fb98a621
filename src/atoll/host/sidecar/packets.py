"""Interception: packets of an application are led into its sidecar by iptables, in a network namespace of its own.

Rule: the rules are in two chains of their own, made in one step and removed at the end; what a killed sidecar left is removed
by the next one. Outbound, only what the application's own user sends is led into the proxy, so that the proxy (another
user) never meets itself; inbound, only the ports that are named.

    nat PREROUTING -> ATOLL_IN:   tcp to a named port                          -> the inbound port of the proxy
    nat OUTPUT     -> ATOLL_OUT:  tcp of the application's user, not loopback  -> the outbound port of the proxy

The doubt: IPv6 is not led anywhere; a namespace with IPv6 routes lets it pass by the proxy.

Source: iptables-extensions(8), REDIRECT and owner; iptables-restore(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec

from atoll.errors import AtollError, Code
from atoll.runtime import loop

CHAIN_IN = "ATOLL_IN"
CHAIN_OUT = "ATOLL_OUT"
COMMAND_WITHIN_S = 10.0


class Packets(msgspec.Struct, frozen=True, kw_only=True):
    """``uid``: the application's user. ``inbound``: the ports that callers know. ``*_to``: where the proxy listens."""

    uid: int
    inbound: tuple[int, ...]
    inbound_to: int
    outbound_to: int

    async def lead(self) -> None:
        """From now on. Raises DENIED or INVALID with what iptables said."""
        await self.let_go()
        await _carry_out(["iptables-restore", "-w", "--noflush"], self.table())

    async def let_go(self) -> None:
        """No rule of a sidecar is left in this network namespace."""
        listed = await _carry_out(["iptables-save", "-t", "nat"], "")
        removal = removal_of(listed)
        if removal:
            await _carry_out(["iptables-restore", "-w", "--noflush"], removal)

    def table(self) -> str:
        """The input of iptables-restore."""
        lines = ["*nat", f":{CHAIN_IN} - [0:0]", f":{CHAIN_OUT} - [0:0]"]
        lines += [
            f"-A {CHAIN_IN} -p tcp -m tcp --dport {port} -j REDIRECT --to-ports {self.inbound_to}"
            for port in self.inbound
        ]
        lines += [
            f"-A {CHAIN_OUT} -d 127.0.0.0/8 -j RETURN",
            f"-A {CHAIN_OUT} -p tcp -m owner --uid-owner {self.uid} -j REDIRECT --to-ports {self.outbound_to}",
            f"-A PREROUTING -p tcp -j {CHAIN_IN}",
            f"-A OUTPUT -p tcp -j {CHAIN_OUT}",
        ]
        return "\n".join([*lines, "COMMIT", ""])


def removal_of(listed: str) -> str:
    """The input of iptables-restore that removes both chains from a table that iptables-save printed; empty: there is
    nothing of them.
    """
    lines = listed.splitlines()
    jumps = [
        line
        for line in lines
        if line.startswith("-A ") and line.endswith((f"-j {CHAIN_IN}", f"-j {CHAIN_OUT}"))
    ]
    chains = [name for name in (CHAIN_IN, CHAIN_OUT) if any(line.startswith(f":{name} ") for line in lines)]
    if not jumps and not chains:
        return ""
    orders = [line.replace("-A ", "-D ", 1) for line in jumps]
    orders += [f"-F {name}" for name in chains] + [f"-X {name}" for name in chains]
    return "\n".join(["*nat", *orders, "COMMIT", ""])


async def _carry_out(line: Sequence[str], given: str) -> str:
    try:
        done = await loop.in_thread(_run, line, given)
    except FileNotFoundError as error:
        text = f"interception needs {line[0]} (Debian's package iptables); without it, use --capture ports"
        raise AtollError(Code.INVALID, text) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AtollError(Code.UNAVAILABLE, f"{line[0]} did not end: {error}") from error
    if done.returncode:
        text = f"{line[0]}: {done.stderr.strip()}; interception needs root in a network namespace of the application"
        raise AtollError(Code.DENIED, text)
    return done.stdout


def _run(line: Sequence[str], given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, input=given, capture_output=True, text=True, timeout=COMMAND_WITHIN_S)

"""Commands of ``dev.py``: parses the line and hands over to the module that does the job.

Rule: ``up`` pays for nothing that it does not use, so the other jobs' modules load inside their command.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from tools import environment

SOAK_MINUTES_MAX = 60.0

_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {}


def run(arguments: Sequence[str]) -> int:
    """Carry out one command; returns the exit code. A failed tool ends with its name and its output."""
    name = arguments[0] if arguments else ""
    if name not in _COMMANDS:
        return _usage(name)
    try:
        return _COMMANDS[name](arguments[1:])
    except environment.ToolFailed as failure:
        print(f"dev.py {name}: {failure}", flush=True)
        return 2
    except KeyboardInterrupt:
        return 130


def _command(function: Callable[[Sequence[str]], int]) -> Callable[[Sequence[str]], int]:
    _COMMANDS[function.__name__.lstrip("_")] = function
    return function


def _usage(given: str) -> int:
    print("usage: python3 dev.py COMMAND [ARGUMENTS]\n")
    for name, function in _COMMANDS.items():
        print(f"  {name:6} {(function.__doc__ or '').splitlines()[0]}")
    return 0 if given in ("", "help", "-h", "--help") else 2


@_command
def _up(arguments: Sequence[str]) -> int:
    """start a node (installs from PyPI on the first run); arguments go to `atoll up`"""
    python = str(environment.ready("run"))
    os.execv(python, [python, "-m", "atoll", "up", *arguments])


@_command
def _check(arguments: Sequence[str]) -> int:
    """format, lint, types, import contracts, unit tests: under a minute"""
    from tools import parts

    return parts.check(environment.ready("dev"), arguments)


@_command
def _test(arguments: Sequence[str]) -> int:
    """everything once; installs the real peers that the tests talk to"""
    from tools import parts, peers

    python = environment.ready("dev")
    peers.install()
    return parts.test(python, arguments)


@_command
def _soak(arguments: Sequence[str]) -> int:
    """fault tests at full rounds: soak [NAME] [--rounds N] [--minutes M]; `soak mutants` breaks each guard"""
    from tools import mutants, peers, soak

    parser = argparse.ArgumentParser(prog="dev.py soak")
    parser.add_argument("name", nargs="?", help="one suite; all of them without")
    parser.add_argument("--rounds", type=int, help="rounds a test, instead of its full number")
    parser.add_argument("--minutes", type=float, default=SOAK_MINUTES_MAX, help="limit for one suite")
    options = parser.parse_args(arguments)
    python = environment.ready("dev")
    peers.install()
    if options.name == "mutants":
        return mutants.run(python)
    return soak.run(python, options.name, options.rounds, options.minutes)


@_command
def _sim(arguments: Sequence[str]) -> int:
    """replay one seed of the simulation and tell its story: sim --seed N"""
    from tools import parts

    return parts.module(environment.ready("dev"), "atoll.testing.world", arguments)


@_command
def _bench(arguments: Sequence[str]) -> int:
    """measure: bench [NAME] [ARGUMENTS]; each bench/NAME.py is one benchmark"""
    from tools import parts, peers

    python = environment.ready("dev")
    peers.install()
    return parts.bench(python, arguments)


@_command
def _generate(arguments: Sequence[str]) -> int:
    """write the blocking twins of asyncio code again"""
    from tools import twins

    return twins.generate(environment.ready("dev"))


@_command
def _docs(arguments: Sequence[str]) -> int:
    """write the generated reference, check the documentation, render it to .dev/docs"""
    from tools import parts

    return parts.docs(environment.ready("dev"), arguments)

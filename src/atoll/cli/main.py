"""The command line: one parser, one way out.

Rule: results go to standard output, everything else to standard error; a failure says what was wrong and what would
be right, in one line, and its exit code says of which kind it is (``EXIT_CODES``; docs/reference/cli.md).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import atoll
from atoll.cli import (
    access,
    config,
    debug,
    documents,
    elections,
    instances,
    items,
    lead,
    mesh,
    past,
    services,
    sidecar,
    status,
    store,
    up,
)
from atoll.cli.command import Pages
from atoll.errors import AtollError, Code

EXIT_CODES = {
    Code.INVALID: 2,
    Code.NOT_FOUND: 3,
    Code.CONFLICT: 4,
    Code.DENIED: 5,
    Code.EXHAUSTED: 6,
    Code.UNAVAILABLE: 7,
    Code.UNKNOWN: 8,
}
EXIT_INTERRUPTED = 130
EXIT_OUTPUT_CLOSED = 141

_EPILOG = """\
exit codes: 0 done; 1 internal error; 2 wrong request or usage; 3 not found; 4 conflict; 5 denied; 6 a limit or the
disk; 7 unavailable, nothing was done; 8 unknown, look before you repeat; 130 interrupted. `atoll lead` and
`atoll sidecar` pass on their program's own. Every command explains itself: atoll COMMAND --help
"""


def parser(pages: Pages) -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="atoll",
        description="The infrastructure that a fleet of services stands on.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"atoll {atoll.__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    up.add(commands, pages)
    for module in (
        status,
        services,
        instances,
        items,
        documents,
        access,
        past,
        elections,
        lead,
        mesh,
        sidecar,
        store,
        config,
        debug,
    ):
        module.add(commands)
    return top


def run(arguments: Sequence[str], pages: Pages) -> int:
    """Carry out one command line; returns the exit code."""
    options = parser(pages).parse_args(arguments)
    try:
        return int(options.run(options))
    except AtollError as error:
        sys.stderr.write(f"atoll {options.command}: {error.message}\n")
        return EXIT_CODES[error.code]
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `atoll ... | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OUTPUT_CLOSED

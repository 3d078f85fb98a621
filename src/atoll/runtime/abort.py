"""The end of a process whose invariant broke.

Rule: a broken invariant of store, lease or fencing ends the process at once, so that a peer takes over from a
state that is known; no handler, no clean-up and no buffered write runs after the line that says why.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h: an internal error was found


def abort(why: str) -> NoReturn:
    """Say why, with the stack, on standard error, and end the process with ``EXIT_CODE``."""
    stack = "".join(traceback.format_stack()[:-1])
    os.write(
        sys.__stderr__.fileno() if sys.__stderr__ else 2, f"atoll: broken invariant: {why}\n{stack}".encode()
    )
    os._exit(EXIT_CODE)

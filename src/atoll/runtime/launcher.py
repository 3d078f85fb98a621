"""The launcher of ``atoll lead``: waits until the watchdog guards it, then becomes the program.

Rule: nothing of the program runs before the watchdog knows its process group and a deadline. The launcher is that
group already, leads its session, and becomes the program by execve(2), so there is no instant without a guard.

Second belt: PR_SET_PDEATHSIG (prctl(2)) makes the kernel kill it when the supervisor dies, in case the watchdog is
stopped at that moment; it survives execve (but not that of a set-user-id program) and reaches this process alone.

Run as a file (``python -I -S launcher.py FD PARENT``): reads one JSON object ``{"program": [...], "environment":
{...}}`` from the pipe FD up to its end. An end without it means that the term never came, and it exits.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_RUN = 126  # a shell's conventions
EXIT_NOT_FOUND = 127


def read_order(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 65_536):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def main() -> int:
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before prctl
        return 0
    order = read_order(descriptor)
    if not order:
        return 0
    parsed = json.loads(order)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = parsed["program"]
    try:
        os.execvpe(program[0], program, parsed["environment"])
    except FileNotFoundError:
        sys.stderr.write(f"atoll lead: no such program: {program[0]}\n")
        return EXIT_NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"atoll lead: cannot run {program[0]}: {error.strerror}\n")
        return EXIT_CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())

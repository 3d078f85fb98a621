"""The launcher of ``atoll lead`` and ``atoll sidecar``: waits until the watchdog guards it, then becomes the program.

Rule: nothing of the program runs before the watchdog knows its process group (and a deadline, where there is one). The
launcher is that group already, leads its session, and becomes the program by execve(2), so there is no instant without a
guard.

Second belt: PR_SET_PDEATHSIG (prctl(2)) makes the kernel kill it when the supervisor dies, in case the watchdog is
stopped at that moment; it survives execve (but not that of a set-user-id program, nor a change of user, so it is set
after that) and reaches this process alone.

Run as a file (``python -I -S launcher.py FD PARENT COMMAND``): reads one JSON object ``{"program": [...], "environment":
{...}, "user": [UID, GID] or null}`` from the pipe FD up to its end. An end without it means that the program is not wanted
any more, and it exits. COMMAND is what of Atoll it works for, for the texts of its errors.
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


def die_with(parent: int) -> bool:
    """From now on the kernel kills this process when ``parent`` ends. False: that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == parent


def become(uid: int, gid: int) -> None:
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


def main() -> int:
    descriptor, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if not die_with(parent):
        return 0
    order = read_order(descriptor)
    if not order:
        return 0
    parsed = json.loads(order)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    program = parsed["program"]
    try:
        if parsed.get("user"):
            become(*parsed["user"])
            if not die_with(parent):
                return 0
        os.execvpe(program[0], program, parsed["environment"])
    except FileNotFoundError:
        sys.stderr.write(f"atoll {command}: no such program: {program[0]}\n")
        return EXIT_NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"atoll {command}: cannot run {program[0]}: {error.strerror}\n")
        return EXIT_CANNOT_RUN


if __name__ == "__main__":
    sys.exit(main())

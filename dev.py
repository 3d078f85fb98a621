#!/usr/bin/env python3
"""Every job of this repository behind one command: ``python3 dev.py up | check | test | soak | sim | bench | docs``.

Rule: needs nothing but the system's python3 (3.11 or newer). Whatever else a job needs it installs into ``.dev/``
or, for the peers that the tests talk to, from Debian; a tool that is missing fails the job with its name.
"""

import sys

if sys.version_info < (3, 11):
    sys.exit("dev.py needs python3 3.11 or newer; this is %d.%d" % sys.version_info[:2])

from tools import main

if __name__ == "__main__":
    sys.exit(main.run(sys.argv[1:]))

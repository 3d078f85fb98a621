"""``atoll`` and ``python -m atoll``: puts the command line and the console together.

Rule: the one module above both; the command line starts nodes, a node shows the pages that it is given.
"""

from __future__ import annotations

import sys

from atoll.cli.main import run
from atoll.console.pages import pages


def main() -> int:
    return run(sys.argv[1:], pages)


if __name__ == "__main__":
    sys.exit(main())

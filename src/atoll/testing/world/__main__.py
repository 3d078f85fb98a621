"""``python -m atoll.testing.world --seed N``: replay one seed and tell its story, line by line."""

from __future__ import annotations

import argparse
import sys

from atoll.testing.world import scenario


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m atoll.testing.world")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--quiet", action="store_true", help="only the summary")
    options = parser.parse_args()
    outcome = scenario.run(options.seed, keep_trace=not options.quiet)
    sys.stdout.write("".join(line + "\n" for line in outcome.trace))
    sys.stdout.write(scenario.summary(outcome) + "\n")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())

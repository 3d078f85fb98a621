"""``python -m atoll.testing.tables --seed N``: replay one seed and tell its story, line by line."""

from __future__ import annotations

import argparse
import sys

from atoll.testing.tables import scenario


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m atoll.testing.tables")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    outcome = scenario.run(options.seed, keep_trace=True)
    sys.stdout.write("".join(line + "\n" for line in outcome.trace))
    sys.stdout.write(scenario.summary(outcome) + "\n")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())

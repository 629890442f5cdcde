"""Real programs, started for real in a sandbox, checked by their own means.

Run as a directory: python3 tests/programs [NAME..].

Each works while it is checkpointed, destroyed and rolled back, and forked, and
must end as if nothing had happened. Prints TAP.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system"), str(HERE.parent)]

from ground import Ground, Test, run_chosen  # noqa: E402  (the path is made above)
from program import PROGRAMS, Program, Rounds, trial  # noqa: E402

MODULES = ["scripts", "databases", "tools", "servers", "editors"]


def as_test(program: type[Program], rounds: Rounds) -> Test:
    def test(ground: Ground) -> None:
        trial(program(), ground, rounds)

    test.__name__ = program.__name__.lower()
    return test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent.parent / "build")
    parser.add_argument("--all", action="store_true",
                        help="20 checkpoints, 20 rollbacks and 4 forks of each, not 3, 3 and 1; "
                        "also those that are slow")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("patterns", nargs="*", metavar="NAME", help="with wildcards")
    args = parser.parse_args()
    for module in MODULES:
        importlib.import_module(module)
    rounds = Rounds(20, 20, 4) if args.all else Rounds(3, 3, 1)
    programs = [p for p in PROGRAMS if args.all or args.patterns or not p.slow]
    return run_chosen([as_test(program, rounds) for program in programs], args)


if __name__ == "__main__":
    sys.exit(main())

"""Tests of the whole: the tool, the keeper and what the contract promises.

Run as a directory: python3 tests/system [NAME..].

Each test has a runtime and a state directory of its own, and fails when it
leaves a process or a sandbox behind. Prints TAP.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from ground import TESTS, run_chosen  # noqa: E402  (the path is made above)

MODULES = ["commands", "trees", "input", "hostile", "siege", "ends", "misuse", "leaks", "faults",
           "chains", "commits", "terminals", "lost", "mappings", "queues", "names"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent.parent / "build")
    parser.add_argument("--all", action="store_true", help="whole fault sweeps")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("patterns", nargs="*", metavar="NAME", help="with wildcards")
    args = parser.parse_args()
    if args.all:
        os.environ["MULLIGAN_TEST_ALL"] = "1"
    for module in MODULES:
        importlib.import_module(module)
    return run_chosen(TESTS, args)


if __name__ == "__main__":
    sys.exit(main())

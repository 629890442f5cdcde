"""Random histories of sandboxes, compared step by step with a model.

Run as a directory: python3 tests/model [--steps N] [SEED..].

A seed decides everything that is done. A failure names the seed, the step and
what came before; the seed alone does it again. Prints TAP.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "system"), str(HERE.parent)]

from ground import Ground, Test, run_tests  # noqa: E402  (the path is made above)
from history import History  # noqa: E402

FEW, MANY = (3, 300), (50, 10_000)      # seeds and steps


def as_test(seed: int, args: argparse.Namespace, steps: int) -> Test:
    def test(ground: Ground) -> None:
        # every other history has no standbys: its rollbacks are cold
        env = {"MULLIGAN_NO_STANDBY": "1"} if seed % 2 == 0 else {}
        began = time.monotonic()
        history = History(ground, seed, env)
        history.loud, history.check_from = args.trace, args.check_from
        try:
            history.go(steps)
        finally:
            history.close()
            took = time.monotonic() - began
            print(f"# seed {seed}: {history.step} steps in {took:.1f} s: {history.counts}",
                  flush=True)

    test.__name__ = f"seed_{seed}"
    return test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent.parent / "build")
    parser.add_argument("--all", action="store_true", help=f"{MANY[0]} seeds, {MANY[1]} steps each")
    parser.add_argument("--steps", type=int, help="of each history")
    parser.add_argument("--trace", action="store_true", help="print every step")
    parser.add_argument("--from", dest="check_from", type=int, metavar="STEP",
                        help="compare all after each step from this one on")
    parser.add_argument("seeds", nargs="*", type=int, metavar="SEED")
    args = parser.parse_args()
    seeds, steps = MANY if args.all else FEW
    chosen = args.seeds or range(1, seeds + 1)
    return run_tests([as_test(seed, args, args.steps or steps) for seed in chosen],
                     args.build.resolve())


if __name__ == "__main__":
    sys.exit(main())

"""What checkpoint, rollback and fork cost, as p50 and p95 over many runs.

Milliseconds belong to a machine; ratios travel. So every figure is printed
also as a multiple of F, the time of fork+exit+wait of a trivial process,
measured in the same run. The clocks:

  keeper   what the keeper says the call took inside
  call     what a client on the socket sees
  first    from the call until a first command (/bin/true) has run in it
  tool     what `mulligan ...` takes as a process of its own
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from keeper import Keeper, Tool  # noqa: E402  (the path is made above)

# a shell and under it a Python that counts and writes some of its memory
COUNTER = """
import time
table = [0] * 4096
n = 0
while True:
    for _ in range(200):
        n += 1
        table[n % 4096] = n
    time.sleep(0.001)
"""
GUEST = ["/bin/bash", "-c", 'exec 9>/tmp/log; /usr/bin/python3 -c "$1" & wait', "bash", COUNTER]
# from the issue: the first figures to reach, in F
TARGETS = {"checkpoint, incremental / call": 30.0,
           "rollback, hot / call": 5.0,
           "rollback, cold / call": 60.0}

Samples = dict[str, list[float]]


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * q)]


def timed_ms(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return (time.perf_counter() - start) * 1e3, result


class Bench:
    """The measurements; each adds named samples in milliseconds."""

    def __init__(self, build: Path, runs: int) -> None:
        self.build, self.runs = build, runs
        self.samples: Samples = {}
        self.stages: dict[str, Samples] = {}

    def add(self, name: str, ms: float) -> None:
        self.samples.setdefault(name, []).append(ms)

    def add_stages(self, name: str, result: dict[str, Any]) -> None:
        for stage, ms in result.get("stages", {}).items():
            self.stages.setdefault(name, {}).setdefault(stage, []).append(ms)

    def yardsticks(self) -> None:
        out = subprocess.run([self.build / "tests/bench_probe", str(max(self.runs, 200))],
                             capture_output=True, text=True, check=True).stdout
        for line in out.splitlines():
            probe = json.loads(line)
            self.samples[probe["name"]] = [us / 1e3 for us in probe["us"]]

    def create(self) -> None:
        """Create an empty sandbox, and remove it."""
        tool = Tool(self.build)
        for i in range(self.runs):
            ms, result = timed_ms(lambda i=i: tool.json("create", f"bench-create-{i}"))
            self.add("create / tool", ms)
            self.add("create / keeper", result["total_ms"])
            self.add_stages("create", result)
            ms, _ = timed_ms(lambda i=i: tool.run("rm", f"bench-create-{i}"))
            self.add("rm / tool", ms)

    def sandbox(self, name: str, env: dict[str, str]) -> Keeper:
        """A sandbox in which the shell and the counter run."""
        Tool(self.build, env).json("create", name)
        keeper = Keeper(name)
        keeper.call("exec", argv=GUEST, background=True)
        time.sleep(0.3)
        return keeper

    def exec(self, keeper: Keeper) -> None:
        for _ in range(self.runs * 2):
            ms, _ = timed_ms(lambda: keeper.call("exec", argv=["/bin/true"]))
            self.add("exec /bin/true / call", ms)

    def checkpoint(self, keeper: Keeper) -> str:
        """Checkpoints one after the other; the id of the last."""
        first, result = timed_ms(lambda: keeper.call("checkpoint"))
        self.add("checkpoint, first / call", first)
        for i in range(self.runs + 5):
            time.sleep(0.02)
            keeper.call("exec", argv=["/bin/sh", "-c", f"echo {i} > /tmp/file"])
            ms, result = timed_ms(lambda: keeper.call("checkpoint"))
            if i < 5:
                continue    # the first ones still warm up
            self.add("checkpoint, incremental / call", ms)
            self.add("checkpoint, incremental / keeper", result["total_ms"])
            self.add("checkpoint, incremental / frozen", result["frozen_ms"])
            self.add_stages("checkpoint", result)
        return str(result["id"])

    def rollback(self, keeper: Keeper, checkpoint: str, hot: bool) -> None:
        kind = "rollback, hot" if hot else "rollback, cold"
        missed = 0
        for _ in range(self.runs):
            time.sleep(0.1)     # the standby is made in the background
            start = time.perf_counter()
            result = keeper.call("rollback", checkpoint=checkpoint)
            called = time.perf_counter()
            keeper.call("exec", argv=["/bin/true"])
            first = time.perf_counter()
            if result["hot"] != hot:
                missed += 1
                continue
            self.add(f"{kind} / keeper", result["total_ms"])
            self.add(f"{kind} / call", (called - start) * 1e3)
            self.add(f"{kind} / first", (first - start) * 1e3)
            self.add_stages(kind, result)
        if missed:
            print(f"bench: {missed} of {self.runs} rollbacks were not "
                  f"{'hot' if hot else 'cold'}", file=sys.stderr)

    def fork(self, keeper: Keeper, checkpoint: str) -> None:
        tool = Tool(self.build)
        for _ in range(self.runs):
            ms, result = timed_ms(lambda: keeper.call("fork", n=4, checkpoint=checkpoint))
            self.add("fork 4 / call", ms)
            self.add("fork 4 / keeper", result["total_ms"])
            tool.run("rm", *result["names"])

    def run(self) -> None:
        self.yardsticks()
        self.create()
        for name, env, hot in (("bench-hot", {}, True),
                               ("bench-cold", {"MULLIGAN_NO_STANDBY": "1"}, False)):
            keeper = self.sandbox(name, env)
            try:
                if hot:
                    self.exec(keeper)
                    last = self.checkpoint(keeper)
                else:
                    last = str(keeper.call("checkpoint")["id"])
                self.rollback(keeper, last, hot)
                if hot:
                    self.fork(keeper, last)
            finally:
                keeper.close()
                Tool(self.build).run("rm", name)

    def report(self) -> list[dict[str, Any]]:
        unit = quantile(self.samples["F"], 0.5)
        rows = []
        for name, values in self.samples.items():
            p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
            rows.append({"name": name, "runs": len(values), "p50_ms": round(p50, 4),
                         "p95_ms": round(p95, 4), "p50_f": round(p50 / unit, 2),
                         "p95_f": round(p95 / unit, 2), "target_f": TARGETS.get(name)})
        return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'':<36}{'runs':>5}{'p50 ms':>10}{'p95 ms':>10}{'p50 F':>9}{'p95 F':>9}  target")
    for row in rows:
        target = row["target_f"]
        words = "" if target is None else \
            f"  {'<=' if row['p50_f'] <= target else 'OVER'} {target:g} F"
        print(f"{row['name']:<36}{row['runs']:>5}{row['p50_ms']:>10.3f}{row['p95_ms']:>10.3f}"
              f"{row['p50_f']:>9.1f}{row['p95_f']:>9.1f}{words}")


def print_stages(stages: dict[str, Samples]) -> None:
    for call, by_stage in stages.items():
        parts = [f"{name} {quantile(values, 0.5):.2f}" for name, values in by_stage.items()]
        print(f"stages of {call}, p50 ms: {', '.join(parts)}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=50, help="runs of each (default 50)")
    args = parser.parse_args()
    bench = Bench(args.build.resolve(), args.runs)
    with tempfile.TemporaryDirectory(prefix="mulligan-bench.") as top:
        for variable, part in (("MULLIGAN_RUNTIME", "run"), ("MULLIGAN_STATE", "state")):
            if variable not in os.environ:
                os.environ[variable] = f"{top}/{part}"
                os.mkdir(os.environ[variable], 0o700)
        bench.run()
    rows = bench.report()
    print(f"kernel {os.uname().release}, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.2f}, uid {os.geteuid()}")
    print_table(rows)
    print_stages(bench.stages)
    for row in rows:
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    sys.exit(main())

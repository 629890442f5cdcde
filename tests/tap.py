"""Run a program that speaks TAP and count its results."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field

RESULT = re.compile(r"^(ok|not ok)\b\s*\d*\s*-?\s*(.*?)(?:\s+#\s*SKIP\b\s*(.*))?$", re.I)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\s*(.*))?$", re.I)


@dataclass
class Tally:
    """Results of one or more TAP programs."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def read_tap(lines: list[str], name: str, status: int) -> Tally:
    """Count the results in the output of program `name`, which ended with
    `status`. A plan that was not kept, or a bad status without a failed
    test, is a failure too."""
    tally = Tally()
    planned, seen = None, 0
    for line in lines:
        if match := PLAN.match(line):
            planned = int(match.group(1))
            if planned == 0:
                tally.skipped.append(f"{name}: {match.group(2) or 'no tests'}")
        elif match := RESULT.match(line):
            seen += 1
            verdict, test, reason = match.groups()
            if reason is not None:
                tally.skipped.append(f"{name}/{test}: {reason}")
            elif verdict == "ok":
                tally.passed += 1
            else:
                tally.failed.append(f"{name}/{test}")
    if planned is None or seen != planned:
        tally.failed.append(f"{name}: ran {seen} of {planned} tests, status {status}")
    elif status != 0 and not tally.failed:
        tally.failed.append(f"{name}: ended with status {status}")
    return tally


def run_tap(name: str, command: list[str], env: dict[str, str], timeout_s: float,
            verbose: bool = False) -> Tally:
    """Run a TAP program to its end (its process group is killed at the time
    limit); show its output when something failed or `verbose`."""
    start = time.monotonic()
    lines: list[str] = []
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace",
                               env={**os.environ, **env}, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        out += f"\nnot ok 9999 - ended within {timeout_s:.0f} s\n"
    lines = out.splitlines()
    tally = read_tap(lines, name, process.returncode)
    print(f"  {name:<28} {tally}  ({time.monotonic() - start:.1f} s)", flush=True)
    if tally.failed or verbose:
        for line in lines:
            print(f"      {line}", flush=True)
    return tally

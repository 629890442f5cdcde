"""The tour: a sandbox with living programs in it, the worst day of an agent,
and the way back, twenty times; then four forks that go their own way.

Everything is checked against what it was before, and the demo fails when
anything differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from keeper import Keeper, Tool  # noqa: E402  (the path is made above)

NAME = "demo"
HOME = "/w"
ROUNDS = 20
FORKS = 4
DISASTER = """
cd /w/tree && sed -i 's/return/retrun/; s/int/in t/' *.c
rm -rf /w/* /etc/* /tmp/* /root/* 2>/dev/null
kill -9 -1
"""


class Broken(Exception):
    """Something is not as it was."""


def say(text: str) -> None:
    print(text, flush=True)


def sh(keeper: Keeper, script: str, check: bool = True) -> str:
    """Run a shell command in the sandbox; what it printed."""
    done = keeper.call("exec", argv=["/bin/bash", "-c", script], cwd=HOME if check else "/",
                       timeout_ms=20000)
    if check and done.get("exit_code") != 0:
        raise Broken(f"'{script}' ended with {done.get('exit_code')}: "
                     f"{(done['stdout'] + done['stderr']).decode(errors='replace')}")
    return str(done["stdout"].decode(errors="replace")).strip()


class Life:
    """What lives in the sandbox, and what must be true of it."""

    def __init__(self, keeper: Keeper) -> None:
        sh(keeper, "mkfifo ask answer tell && bash /inside/tree.sh")
        self.handles = {
            name: keeper.call("exec", argv=argv, cwd=HOME, background=True)["handle"]
            for name, argv in (
                ("server", ["/usr/bin/python3", "/inside/server.py"]),
                ("session", ["/bin/bash", "/inside/session.sh"]),
                ("rows", ["/usr/bin/python3", "/inside/rows.py"]))}
        for name, handle in self.handles.items():
            self.await_output(keeper, handle, f"{name} up")
        for _ in range(3):
            self.count = int(sh(keeper, "echo next > ask; cat answer"))
        self.git = self.git_state(keeper)
        self.rows = self.row_count(keeper)
        self.processes = self.process_list(keeper)

    @staticmethod
    def await_output(keeper: Keeper, handle: str, text: str) -> None:
        for _ in range(500):
            if text in keeper.call("attach", handle=handle, follow=False)["stdout"].decode():
                return
            time.sleep(0.02)
        raise Broken(f"'{text}' was never said")

    @staticmethod
    def git_state(keeper: Keeper) -> str:
        return sh(keeper, "cd tree && git status --porcelain && git diff && git diff --cached "
                  "&& cat *.c untracked | sha256sum")

    @staticmethod
    def row_count(keeper: Keeper) -> int:
        text = sh(keeper, """/usr/bin/python3 -c "
import sqlite3
db = sqlite3.connect('rows.db', timeout=10)
print(db.execute('PRAGMA integrity_check').fetchone()[0])
print(db.execute('SELECT count(*) FROM rows').fetchone()[0])"
""")
        whole, count = text.split()
        if whole != "ok" or int(count) % 5:
            raise Broken(f"the database is {whole} and has {count} rows")
        return int(count)

    @staticmethod
    def process_list(keeper: Keeper) -> list[str]:
        """pid, parent, group, session and name of the programs that stay."""
        lines = sh(keeper, "ps -e -o pid=,ppid=,pgid=,sid=,comm=").splitlines()
        return [" ".join(line.split()) for line in lines
                if line.split()[4] in ("python3", "bash")][:4]

    def verify(self, keeper: Keeper, expect_count: int | None = None) -> None:
        """All is as it was, and goes on from there."""
        want = (self.count if expect_count is None else expect_count) + 1
        count = int(sh(keeper, "echo next > ask; cat answer"))
        if count != want:
            raise Broken(f"the server counted {count}, not {want}")
        if self.git_state(keeper) != self.git:
            raise Broken("the work tree has changed")
        now = self.process_list(keeper)
        if now[:len(self.processes)] != self.processes:
            raise Broken(f"processes were {self.processes} and are {now}")
        rows = self.row_count(keeper)
        if rows < self.rows:
            raise Broken(f"{rows} rows, there were {self.rows}")
        for _ in range(200):
            if self.row_count(keeper) > rows:
                break
        else:
            raise Broken("no more rows are committed")
        told = sh(keeper, "rm -f told; echo please > tell; "
                  "until [ -s told ]; do sleep 0.005; done; cat told")
        if "ended with 42 (please)" not in told:
            raise Broken(f"the session says: {told}")


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[round((len(values) - 1) * q)]


def table(rows: dict[str, list[float]]) -> None:
    say(f"\n{'milliseconds':<44}{'runs':>5}{'p50':>9}{'p95':>9}")
    for name, values in rows.items():
        say(f"{name:<44}{len(values):>5}{quantile(values, .5):>9.2f}{quantile(values, .95):>9.2f}")


def rounds(keeper: Keeper, life: Life, checkpoint: str, times: dict[str, list[float]]) -> None:
    """Disaster, rollback, verify."""
    for i in range(ROUNDS):
        sh(keeper, DISASTER, check=False)
        left = sh(keeper, "ls -A /w | wc -l; ps -e -o comm= | grep -c python3", check=False)
        if i == 0:
            say(f"   left in /w and of the Python programs: {' and '.join(left.split())}")
        start = time.perf_counter()
        result = keeper.call("rollback", checkpoint=checkpoint)
        called = time.perf_counter()
        sh(keeper, "true")
        first = time.perf_counter()
        kind = "hot" if result["hot"] else "cold"
        times.setdefault(f"rollback ({kind}): inside the keeper", []).append(result["total_ms"])
        times.setdefault(f"rollback ({kind}): the call, for a client", []).append(
            (called - start) * 1e3)
        times.setdefault(f"rollback ({kind}): until a first command ran", []).append(
            (first - start) * 1e3)
        life.verify(keeper)
        print(".", end="", flush=True)
    print(flush=True)


def forks(tool: Tool, keeper: Keeper, life: Life, checkpoint: str,
          times: dict[str, list[float]]) -> None:
    start = time.perf_counter()
    result = keeper.call("fork", n=FORKS, checkpoint=checkpoint)
    times[f"fork {FORKS}: inside the keeper"] = [result["total_ms"]]
    times[f"fork {FORKS}: the call, for a client"] = [(time.perf_counter() - start) * 1e3]
    for i, name in enumerate(result["names"]):
        with Keeper(name) as twin:
            for step in range(i):
                count = int(sh(twin, "echo next > ask; cat answer"))
                if count != life.count + step + 1:
                    raise Broken(f"{name} counted {count}")
            life.verify(twin, life.count + i)
            sh(twin, f"echo {name} > mine")
    for name in result["names"]:
        with Keeper(name) as twin:
            if sh(twin, "cat mine; hostname") != f"{name}\n{sh(twin, 'hostname')}":
                raise Broken(f"{name} has another's file")
        tool.run("rm", name)


def tour(tool: Tool) -> None:
    times: dict[str, list[float]] = {}
    say("1. create a sandbox: a server with threads, a shell with a job, a database, a work tree")
    created = tool.json("create", NAME, "--volume", f"{HERE}/inside:/inside:ro")
    times["create: inside the keeper"] = [created["total_ms"]]
    with Keeper(NAME) as keeper:
        keeper.call("exec", argv=["/bin/mkdir", "-m", "0777", HOME])
        life = Life(keeper)
        say(f"   the server has counted to {life.count}, {life.rows} rows are committed; processes:")
        for line in life.processes:
            say(f"     {line}")
        say("2. checkpoint")
        for i in range(10):
            start = time.perf_counter()
            done = keeper.call("checkpoint")
            ms = (time.perf_counter() - start) * 1e3
            kind = "first" if i == 0 else "next"
            times.setdefault(f"checkpoint ({kind}): inside the keeper", []).append(
                done["total_ms"])
            times.setdefault(f"checkpoint ({kind}): guest stood still", []).append(
                done["frozen_ms"])
            times.setdefault(f"checkpoint ({kind}): the call, for a client", []).append(ms)
            time.sleep(0.05)
        say(f"   {done['processes']} processes, {done['threads']} threads")
        say(f"3. {ROUNDS} times: sed over all sources, rm -rf, kill -9 -1; rollback; verify all")
        rounds(keeper, life, done["id"], times)
        say(f"4. {FORKS} forks, each goes its own way")
        forks(tool, keeper, life, done["id"], times)
    table(times)
    say("\nall as it was, every time")


def main() -> int:
    tool = Tool(Path(sys.argv[1]).resolve().parent)
    with tempfile.TemporaryDirectory(prefix="mulligan-demo.") as top:
        for variable, part in (("MULLIGAN_RUNTIME", "run"), ("MULLIGAN_STATE", "state")):
            os.environ[variable] = tool.env[variable] = f"{top}/{part}"
            os.mkdir(f"{top}/{part}", 0o700)
        try:
            tour(tool)
        except Broken as broken:
            say(f"\nFAILED: {broken}")
            return 1
        finally:
            subprocess.run([tool.path, "rm", "--all"], env=tool.env, check=False,
                           capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

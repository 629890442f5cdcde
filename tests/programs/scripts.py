"""Scripts: a shell with jobs, Python with its own ways to do many things."""

from __future__ import annotations

import subprocess

from box import Box
from ground import Skip, check, equal
from program import Program, inside, program, until

TRY_LOCK = """
import fcntl
try: fcntl.lockf(open("daemon.pid", "r+"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: print("locked")
"""


def need_module(name: str) -> None:
    done = subprocess.run(["/usr/bin/python3", "-c", f"import {name}"], check=False,
                          stderr=subprocess.DEVNULL)
    if done.returncode:
        raise Skip(f"no module {name} for python3 (package python3-{name})")


@program
class BashJobs(Program):
    """A script with background jobs, wait and traps."""

    needs = {"bash": "bash"}
    guests = ("jobs.sh",)
    command = ("bash", "jobs.sh")

    def finish(self, box: Box) -> None:
        super().finish(box)
        inside(box, "test -e exited")


@program
class PythonAsyncio(Program):
    """A server on asyncio, and its client on one connection."""

    needs = {"python3": "python3"}
    guests = ("common.py", "asynchronous.py")
    command = ("/usr/bin/python3", "-B", "asynchronous.py")


@program
class PythonPool(Program):
    """A multiprocessing pool in the middle of a map."""

    needs = {"python3": "python3"}
    guests = ("common.py", "pool.py")
    command = ("/usr/bin/python3", "-B", "pool.py")


@program
class Daemon(Program):
    """A daemon that has forked twice, with a lock on its pid file."""

    needs = {"python3": "python3"}
    guests = ("common.py", "daemon.py")
    command = ("/bin/sh", "-c", "/usr/bin/python3 -B daemon.py")

    def check(self, box: Box) -> None:
        super().check(box)
        inside(box, "kill -0 $(cat daemon.pid)")
        equal(inside(box, f"/usr/bin/python3 -c '{TRY_LOCK}'"), "locked")

    def finish(self, box: Box) -> None:
        inside(box, "touch finish")
        until(lambda: not inside(box, "ls daemon.pid 2>/dev/null || true"), "the daemon's end")
        Program.check(self, box)


@program
class Numpy(Program):
    """An array of 200 MB."""

    needs = {"python3": "python3"}
    guests = ("common.py", "array.py")
    command = ("/usr/bin/python3", "-B", "array.py")
    slow = True

    def prepare(self, box: Box) -> None:
        need_module("numpy")


@program
class Pytest(Program):
    """A run of tests that is stopped in the middle, and continued."""

    needs = {"python3": "python3"}
    guests = ("common.py", "test_steps.py")
    command = ("/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
               "test_steps.py")

    def prepare(self, box: Box) -> None:
        need_module("pytest")

    def moment(self, box: Box) -> None:
        super().moment(box)
        inside(box, "kill -STOP $(pgrep -f [t]est_steps.py)")

    def work(self, box: Box) -> None:
        inside(box, "kill -CONT $(pgrep -f [t]est_steps.py)")
        super().work(box)

    def finish(self, box: Box) -> None:
        inside(box, "kill -CONT $(pgrep -f [t]est_steps.py)")
        super().finish(box)
        equal(inside(box, "cat blocks"), "2000")
        check("2000 passed" in box.output(self.handle), box.output(self.handle)[-300:])

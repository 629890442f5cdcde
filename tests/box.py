"""A sandbox, as the tests use it: by the command line tool and the socket."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any

from keeper import SLOW, Keeper, Tool, keeper_pid

WORK = "/w"     # where things happen in every sandbox
REMOVE_S = 60       # a keeper may be syncing what others wrote, too


class Failed(Exception):
    """The product did not do what it must."""


class Box:
    """A sandbox of the test; a fork is a Box of its own."""

    def __init__(self, tool: Tool, name: str) -> None:
        self.tool = tool
        self.name = name
        self.keeper = Keeper(name)

    @classmethod
    def create(cls, tool: Tool, name: str, *options: str) -> Box:
        tool.json("create", name, *options)
        box = cls(tool, name)
        box.shell(f"mkdir -m 0777 {WORK}")
        return box

    def shell(self, script: str, check: bool = True, **params: Any) -> dict[str, Any]:
        """Run a shell command in the sandbox and wait for it."""
        params.setdefault("timeout_ms", int(60000 * SLOW))
        done = self.keeper.call("exec", argv=["/bin/sh", "-c", script], **params)
        if check and done.get("exit_code") != 0:
            raise Failed(f"'{script}' ended with {done.get('exit_code')}, signal "
                         f"{done.get('signal')}: {done['stderr'].decode(errors='replace')}")
        return done

    def text(self, script: str) -> str:
        """What a shell command prints, without the last newline."""
        return self.shell(script)["stdout"].decode().rstrip("\n")

    def start(self, *argv: str) -> str:
        """Run a command in the background; its handle."""
        return str(self.keeper.call("exec", argv=list(argv), cwd=WORK, background=True)["handle"])

    def output(self, handle: str) -> str:
        """Standard output and error of a command so far."""
        got = self.keeper.call("attach", handle=handle, follow=False)
        return (got["stdout"] + got["stderr"]).decode(errors="replace")

    def await_output(self, handle: str, text: str, timeout_s: float = 20) -> None:
        end = time.monotonic() + timeout_s * SLOW
        while text not in self.output(handle):
            if time.monotonic() > end:
                raise Failed(f"did not print {text!r} within {timeout_s} s, but "
                             f"{self.output(handle)!r}")
            time.sleep(0.01)

    def wait(self, handle: str, timeout_s: float = 30) -> dict[str, Any]:
        """The end of a command."""
        with Keeper(self.name, timeout_s) as waiter:
            try:
                return waiter.call("wait", handle=handle)
            except TimeoutError:
                raise Failed(f"did not end within {timeout_s} s; output: "
                             f"{self.output(handle)!r}") from None

    def checkpoint(self, tag: str = "") -> str:
        return str(self.tool.json("checkpoint", self.name, *(["-t", tag] if tag else []))["id"])

    def rollback(self, *checkpoint: str) -> dict[str, Any]:
        return self.tool.json("rollback", self.name, *checkpoint)

    def fork(self, checkpoint: str, n: int) -> list[Box]:
        names = self.tool.json("fork", f"{self.name}@{checkpoint}", "-n", str(n))["names"]
        return [Box(self.tool, name) for name in names]

    def remove(self) -> None:
        """Remove the sandbox; a keeper that does not answer is killed, and
        that is a failure."""
        self.keeper.close()
        pid = keeper_pid(self.name)
        try:
            self.tool.run("rm", self.name, timeout_s=REMOVE_S)
        except subprocess.TimeoutExpired:
            if pid:
                os.kill(pid, signal.SIGKILL)
            self.tool.run("gc", timeout_s=REMOVE_S)
            raise Failed(f"{self.name} could not be removed within {REMOVE_S} s") from None

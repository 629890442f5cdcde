"""What the tests of real programs stand on: the shape of a program, its trial.

A program works in steps, without an end, and writes after each step "N VALUE"
to the file progress, by rename. VALUE depends on N alone and has gone through
all that the program consists of, so every moment can be compared with an
undisturbed run. When it finds the file finish it ends by itself, and with 0
only if all that it can check of itself is right.

No limit here says how fast a program must be: a wait ends when there is
progress, or fails when there was none for STUCK_S.
"""

from __future__ import annotations

import functools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from box import WORK, Box
from ground import Ground, Skip, check, equal
from keeper import SLOW

GUESTS = Path(__file__).resolve().parent / "guests"
STUCK_S = 300
MODULUS = 1000003


@dataclass(frozen=True)
class Rounds:
    """How often each program is checkpointed, rolled back and forked."""

    checkpoints: int
    rollbacks: int
    forks: int


@functools.lru_cache
def chain(n: int) -> int:
    """The VALUE of most programs after n steps."""
    value = 0
    for i in range(1, n + 1):
        value = (value * 31 + i) % MODULUS
    return value


def inside(box: Box, script: str) -> str:
    """What a shell command in the working directory prints."""
    return str(box.shell(script, cwd=WORK)["stdout"].decode().rstrip("\n"))


def at_length(box: Box, script: str) -> str:
    """The same, where it may take longer than a request may."""
    handle = box.start("/bin/sh", "-c", script)
    done = box.wait(handle, STUCK_S)
    output = box.output(handle)
    equal(done.get("exit_code"), 0, f"'{script}' ended, with the output {output!r}")
    return output.rstrip("\n")


def until(what: Callable[[], bool], words: str) -> None:
    end = time.monotonic() + STUCK_S * SLOW
    while not what():
        check(time.monotonic() < end, f"not within {STUCK_S} s: {words}")
        time.sleep(0.01)


class Program:
    """A program under trial. Subclasses say what is special about theirs."""

    needs: dict[str, str] = {}      # commands, and the Debian packages they are in
    guests: tuple[str, ...] = ()    # files of guests/ that it consists of
    command: tuple[str, ...] = ()   # what to run in the directory with these
    slow = False                    # costs too much for every day: with --all

    def start(self, box: Box) -> None:
        """Bring it up and to work."""
        for name in self.guests:
            put(box, name, (GUESTS / name).read_text())
        self.prepare(box)
        self.handle = box.start(*self.command)
        until(lambda: self.steps(box) > 0, "the first step")

    def prepare(self, box: Box) -> None:
        """What comes before its start, once its files are there."""

    def state(self, box: Box) -> tuple[int, str]:
        """Steps done, and VALUE; (0, "") before the first."""
        words = inside(box, "cat progress 2>/dev/null || true").split()
        if not words:
            done = [c for c in box.keeper.call("commands")["commands"] if c.get("exit_code")]
            check(not done, f"ended: {done}")
            return 0, ""
        return int(words[0]), " ".join(words[1:])

    def steps(self, box: Box) -> int:
        return self.state(box)[0]

    def undisturbed(self, n: int) -> str | None:
        """The VALUE of a run of n steps that nothing happened to; None: it
        is compared in another way."""
        return str(chain(n))

    def moment(self, box: Box) -> None:
        """Let it come to a moment at which a checkpoint is worth taking."""
        self.work(box)

    def work(self, box: Box) -> None:
        """Let it do a step at least."""
        before = self.steps(box)
        until(lambda: self.steps(box) > before, f"a step after {before}")

    def check(self, box: Box) -> None:
        """Everything is as it must be, by the program's own means."""
        n, value = self.state(box)
        equal(value, self.undisturbed(n) or value, f"after {n} steps")

    def damage(self, box: Box) -> None:
        """Destroy it: what a rollback must undo."""
        box.shell("rm -rf /w/*; kill -9 -1; until rm -rf /w; do :; done")

    def finish(self, box: Box) -> None:
        """Let it come to its end, which must be that of an undisturbed run."""
        inside(box, "touch finish")
        done = box.wait(self.handle, STUCK_S)
        equal((done.get("exit_code"), done.get("signal")), (0, None),
              f"its end, with the output {box.output(self.handle)!r}")
        Program.check(self, box)


PROGRAMS: list[type[Program]] = []


def program(kind: type[Program]) -> type[Program]:
    """Register a program, in the order of the files."""
    PROGRAMS.append(kind)
    return kind


def put(box: Box, name: str, text: str) -> None:
    """Write a file of the working directory."""
    box.keeper.call("exec", argv=["/bin/sh", "-c", 'printf %s "$1" >"$0"', name, text], cwd=WORK)


def goes_on(it: Program, box: Box) -> None:
    """It is right, works, and is right then."""
    it.check(box)
    it.work(box)
    it.check(box)


def trial(it: Program, ground: Ground, rounds: Rounds) -> None:
    """Checkpoints at work; damage and rollback; forks; the end of all."""
    for command, package in it.needs.items():
        if not shutil.which(command, path="/usr/bin:/usr/sbin:/usr/local/go/bin"):
            raise Skip(f"no '{command}' here (package {package})")
    box = ground.create("one", "--host")
    it.start(box)
    taken: list[tuple[str, int]] = []
    for i in range(rounds.checkpoints):
        it.moment(box)
        inside(box, f"echo {i} >mark")
        n = it.steps(box)
        taken.append((box.checkpoint(), n))
        it.check(box)
    for i in range(rounds.rollbacks):
        k = (2 * i - 1) % len(taken)
        it.damage(box)
        box.rollback(taken[k][0])
        equal(inside(box, "cat mark"), str(k), "the file of the checkpoint")
        check(it.steps(box) >= taken[k][1], f"steps that checkpoint {k} had are gone")
        goes_on(it, box)
    twins = ground.fork(box, taken[len(taken) // 2][0], rounds.forks)
    for twin in twins:
        goes_on(it, twin)
    for each in [box, *twins]:
        it.finish(each)

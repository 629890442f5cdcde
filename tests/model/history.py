"""A random history of sandboxes beside their models, from a seed.

Each sandbox has a World; a checkpoint keeps a copy of it under its id, a
rollback brings that copy back, a fork gives it to the twin. Whatever the
actors answer, and at times all that they can tell, must be as the World says.
"""

from __future__ import annotations

import pickle
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable

from act_files import keeps_name, may_shrink
from act_processes import ended_reads
from act_queues import drained
from acting import Act, any_path, attempt
from acts import choose
from box import Box, Failed
from ground import Ground
from keeper import STDIN, STDOUT, Keeper, Refused
from limits import refusals
from picture import Difference, check_state, check_tree
from world import POST, SHM, TOP, Error, Inode, Process, World

BOXES_MOST = 3
CHECKPOINTS_MOST = 12       # of one sandbox
ACTOR = "/model/actor"


class Wire(Keeper):
    """Standard input and output of the first actor of a sandbox."""

    def __init__(self, name: str, handle: str) -> None:
        super().__init__(name)
        self.send("attach", handle=handle)
        self.heard = b""
        self.number = 0

    def ask(self, acts: list[Act]) -> list[str]:
        """Their answers, without the numbers."""
        numbers = range(self.number + 1, self.number + 1 + len(acts))
        text = "".join(f"{n} {a.slot} {a.text}\n" for n, a in zip(numbers, acts))
        self.number = numbers[-1]
        self.send_frame(STDIN, text.encode())
        return [self.line(n) for n in numbers]

    def line(self, number: int) -> str:
        """What was said before, to others, is passed over."""
        while True:
            line, end, rest = self.heard.partition(b"\n")
            if not end:
                kind, data = self.receive()
                if kind != STDOUT:
                    raise Difference(f"the actors ended: {data.decode()}")
                self.heard += data
                continue
            self.heard = rest
            if line.startswith(b"%d " % number):
                return line.decode().split(" ", 1)[1]


@dataclass
class Sandbox:
    """One of the family. `saved`: what each of its checkpoints must bring."""

    box: Box
    wire: Wire
    world: World
    handle: str             # of its first actor
    head: str = ""
    saved: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def save(self, checkpoint: str) -> None:
        self.head = checkpoint
        self.saved[checkpoint] = self.handle, pickle.dumps(self.world)

    def load(self, checkpoint: str) -> None:
        self.head = checkpoint
        self.handle, world = self.saved[checkpoint]
        self.world = pickle.loads(world)


class History:
    """Sandboxes, and the chance that decides what happens to them."""

    def __init__(self, ground: Ground, seed: int, env: dict[str, str] | None = None) -> None:
        self.ground = ground
        self.random = random.Random(seed)
        self.step = 0
        self.loud = False
        self.check_from: int | None = None      # a step: compare after each
        self.trace: deque[str] = deque(maxlen=12)
        self.counts: dict[str, int] = {}
        self.number = 0
        self.all: list[Sandbox] = [self.create(env)]

    # the sandboxes

    def create(self, env: dict[str, str] | None) -> Sandbox:
        box = self.ground.create("one", "--volume", f"{self.ground.build}/tests/model:/model:ro",
                                 env=env)
        return Sandbox(box, *self.populate(box))

    def populate(self, box: Box) -> tuple[Wire, World, str]:
        """Start the first actor; what it says of itself is the first World."""
        box.shell(f"mkdir -p {TOP} {SHM}; chmod 755 {TOP} {SHM}")
        handle = box.keeper.call("exec", argv=[ACTOR], cwd=TOP, background=True,
                                 stdin=True)["handle"]
        wire, world = self.wire(box, str(handle)), World()
        words = dict(w.split(":", 1) for w in wire.ask([Act(POST, "state")])[0].split())
        world.processes[POST] = Process(
            POST, int(words["pid"]), int(words["ppid"]), int(words["group"]),
            int(words["session"]), world.top, core=int(words["core"]))
        return wire, world, str(handle)

    def wire(self, box: Box, handle: str) -> Wire:
        wire = Wire(box.name, handle)
        self.number += 1_000_000    # no two of a history use one number
        wire.number = self.number
        return wire

    def one(self) -> Sandbox:
        return self.random.choice(self.all)

    def note(self, s: Sandbox, text: str) -> None:
        self.trace.append(f"{self.step} {s.box.name}: {text[:300]}")
        if self.loud:
            print(f"# {self.trace[-1]}", flush=True)

    # what happens

    def act(self, s: Sandbox) -> None:
        act = choose(s.world, self.random)
        self.perform(s, [act])
        self.perform(s, ended_reads(s.world))

    def perform(self, s: Sandbox, acts: list[Act]) -> None:
        for act in acts:
            self.note(s, f"{act.slot} {act.text}")
        for act, answer in zip(acts, s.wire.ask(acts) if acts else []):
            act.heard(answer)

    def compare(self, s: Sandbox) -> None:
        """All that the actors can tell; what was not known is from now on."""
        acts = [Act(POST, f"tree {TOP}"), Act(POST, f"tree {SHM}")]
        processes = [s.world.processes[slot] for slot in sorted(s.world.processes)]
        acts += [Act(p.slot, "state") for p in processes]
        answers = s.wire.ask(acts)
        check_tree(s.world.top, TOP, answers[0])
        check_tree(s.world.shm, SHM, answers[1])
        for p, answer in zip(processes, answers[2:]):
            check_state(s.world, p, answer)

    def checkpoint(self, s: Sandbox) -> None:
        self.compare(s)
        made = self.unless_refused(s, "checkpoint")
        if made:
            s.save(str(made["id"]))
        self.note(s, f"checkpoint {s.head}")
        if self.random.random() < .2:
            self.compare(s)

    def unless_refused(self, s: Sandbox, method: str, **params: Any) -> dict[str, Any] | None:
        """A refusal is right where the limits say so, and nowhere else."""
        try:
            return s.box.keeper.call(method, **params)
        except Refused as refusal:
            if "checkpoint" in params or \
                    not any(words in str(refusal) for words in refusals(s.world)):
                raise
            self.counts["refused"] = self.counts.get("refused", 0) + 1
            self.compare(s)
            return None

    def rollback(self, s: Sandbox) -> None:
        if not s.saved:
            return
        ids = list(s.saved)
        to = self.random.choice((ids[-1], s.head or ids[-1], self.random.choice(ids)))
        if to not in s.saved:
            to = ids[-1]
        self.roll(s, to)
        self.compare(s)
        if self.random.random() < .15:
            self.drain(s)
            self.roll(s, to)

    def roll(self, s: Sandbox, to: str) -> None:
        self.note(s, f"rollback {to}")
        s.box.keeper.call("rollback", checkpoint=to)
        was = s.handle
        s.load(to)
        if s.handle != was:
            s.wire.close()
            s.wire = self.wire(s.box, s.handle)

    def drain(self, s: Sandbox) -> None:
        """Read every queue to its end."""
        for act in drained(s.world):
            self.perform(s, [act])

    def fork(self, s: Sandbox) -> None:
        if len(self.all) >= BOXES_MOST:
            return self.remove(s)
        params = {}
        if s.saved and self.random.random() < .5:
            params["checkpoint"] = self.random.choice(list(s.saved))
        else:
            self.compare(s)
        n = self.random.randint(1, BOXES_MOST - len(self.all))
        self.note(s, f"fork {n} {params}")
        made = self.unless_refused(s, "fork", n=n, **params)
        if not made:
            return None
        past = str(made["checkpoint"])
        if past not in s.saved:
            s.save(past)
        for name in made["names"]:
            box = Box(s.box.tool, name)
            self.ground.boxes.append(box)
            handle = s.saved[past][0]
            twin = Sandbox(box, self.wire(box, handle), s.world, handle, saved=dict(s.saved))
            twin.load(past)
            self.all.append(twin)
            self.compare(twin)
        self.compare(s)
        return None

    def remove(self, s: Sandbox) -> None:
        if len(self.all) == 1:
            return
        self.note(s, "remove")
        self.all.remove(s)
        self.ground.boxes.remove(s.box)
        s.wire.close()
        s.box.remove()

    def delete(self, s: Sandbox) -> None:
        """Not the one that now descends from."""
        found = [i for i in s.saved if i != s.head]
        if not found:
            return
        gone = self.random.choice(found)
        self.note(s, f"delete {gone}")
        s.box.keeper.call("delete_checkpoint", checkpoint=gone)
        del s.saved[gone]

    def reset(self, s: Sandbox) -> None:
        self.note(s, "reset")
        s.box.keeper.call("reset")
        s.wire.close()
        s.head = ""
        s.wire, s.world, s.handle = self.populate(s.box)

    def command(self, s: Sandbox) -> None:
        """A command of another client changes files."""
        w, a, b = s.world, any_path(self.random), any_path(self.random)

        def write() -> None:
            parent, name, inode = w.walk(a)
            if inode and inode.kind != "f":
                raise Error(21)
            if not inode:
                inode = parent.entries[name] = Inode("f", 0o644)
                parent.mtime = None
            inode.resize(0)
            inode.put(0, b"told\n")

        def move() -> None:
            w.link(a, b)
            w.unlink(a)

        scripts: list[tuple[str, Callable[[], None]]] = [
            (f"echo told > {a}", write), (f"ln -PT {a} {b} && rm {a}", move),
            (f"rm -rf {a}", lambda: w.remove_all(a))]
        script, change = self.random.choice(scripts)
        if not self.harmless(w, a):
            return
        self.note(s, script)
        want = attempt(change)
        done = s.box.shell(script, check=False)
        if (done.get("exit_code") == 0) != (want == "0"):
            raise Difference(f"'{script}' ended with {done.get('exit_code')} "
                             f"{done['stderr']!r}, want {want}")

    @staticmethod
    def harmless(w: World, path: str) -> bool:
        """Would nothing go away there that must stay, or a FIFO block?"""
        for follow in (True, False):
            try:
                found = w.walk(path, follow)[2]
            except Error:
                continue
            for inode in w.below(found) if found else []:
                if inode.kind == "p" or not may_shrink(w, inode) or keeps_name(w, inode):
                    return False
        return True

    KINDS: list[tuple[float, str]] = [
        (100, "act"), (2, "command"), (4, "checkpoint"), (2.5, "rollback"), (.4, "fork"),
        (.3, "remove"), (1, "delete"), (1, "compare"), (.05, "reset")]

    def go(self, steps: int) -> None:
        """Raises Failed, with what came before, at the first difference."""
        weights, kinds = [w for w, _ in self.KINDS], [k for _, k in self.KINDS]
        for self.step in range(1, steps + 1):
            s = self.one()
            kind = self.random.choices(kinds, weights)[0]
            if kind == "checkpoint" and len(s.saved) >= CHECKPOINTS_MOST:
                self.delete(s)
            try:
                getattr(self, kind)(s)
                if self.check_from is not None and self.step >= self.check_from and s in self.all:
                    self.compare(s)
            except Exception as error:
                past = "\n".join(self.trace)
                raise Failed(f"step {self.step}, {kind} of {s.box.name}: "
                             f"{type(error).__name__}: {error}\n{past}") from error
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def close(self) -> None:
        for s in self.all:
            s.wire.close()

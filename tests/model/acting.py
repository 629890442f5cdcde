"""What actors may do: a choice by chance, the request, and what must be answered.

An act looks at the world, picks what it needs (None: there is none such now),
changes the world and says what the actor must answer.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import Callable

from picture import Difference
from world import PAGE, SHM, TOP, Error, Open, Process, World

SLOTS, AREAS, HELPERS = 10, 6, 3
FILE_MOST = 6 * PAGE
FDS_MOST = 24
PIECES_MOST = 8         # in a queue
RARE = .95              # of what cannot be saved, this is left out
FAILS = "an error"      # which one is the kernel's business
SIGNALS = [signal.SIGUSR1, signal.SIGUSR2, 36, 37]


@dataclass
class Act:
    """A request to a slot. `want`: the answer; `then` hears it."""

    slot: int
    text: str
    want: str | None = None
    then: Callable[[str], None] | None = None

    def heard(self, answer: str) -> None:
        failed = answer.startswith("-")
        if self.want == FAILS and not failed or self.want not in (None, FAILS, answer):
            raise Difference(f"slot {self.slot}, '{self.text[:200]}': answered '{answer}', "
                             f"want '{self.want}'")
        if self.then:
            self.then(answer)


Chooser = Callable[[World, random.Random, Process], "Act | None"]
ACTS: list[tuple[int, Chooser]] = []


def act(weight: int) -> Callable[[Chooser], Chooser]:
    """Register an act that is chosen `weight` times as often as one of 1."""
    def register(chooser: Chooser) -> Chooser:
        ACTS.append((weight, chooser))
        return chooser
    return register


def any_path(r: random.Random) -> str:
    names = [r.choice("abcd") for _ in range(r.choice((1, 1, 1, 2, 2, 3)))]
    return "/".join([SHM if r.random() < .15 else TOP, *names])


def any_bytes(r: random.Random, most: int) -> tuple[str, bytes]:
    """The words TIMES HEX, and the bytes that they mean."""
    unit = r.randbytes(r.randint(1, 7))
    times = r.randint(1, max(1, r.choice((most // 50, most)) // len(unit)))
    return f"{times} {unit.hex()}", unit * times


def attempt(call: Callable[[], object]) -> str:
    """Change the world: what the actor says of it."""
    try:
        call()
    except Error:
        return FAILS
    return "0"


def chosen_fd(w: World, r: random.Random, p: Process,
              fits: Callable[[Open], bool]) -> tuple[int, Open] | None:
    found = [(n, h.what) for n, h in sorted(p.fds.items()) if fits(h.what)]
    return r.choice(found) if found else None


def is_read(w: World, what: Open) -> bool:
    """Does a thread wait in a read of it?"""
    return any(t.reads is what for p in w.processes.values() for t in p.threads.values())


def may_close(w: World, what: Open) -> bool:
    """Not under a thread that reads; and no end of a TCP connection with
    something left to read, which would reset it."""
    return not is_read(w, what) and not (what.kind == "tcp" and what.queue and what.queue.pieces)

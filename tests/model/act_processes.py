"""Threads, processes and signals."""

from __future__ import annotations

import os
import random
import signal

from acting import Act, act, chosen_fd, FAILS, HELPERS, may_close, RARE, SIGNALS, SLOTS
from picture import Difference
from world import POST, Error, Process, Thread, World, told


@act(3)
def do_thread(w: World, r: random.Random, p: Process) -> Act | None:
    i = r.randrange(HELPERS)
    if i in p.threads:
        return None
    thread = p.threads[i] = Thread(0)

    def heard(answer: str) -> None:
        thread.tid = int(answer)
    return Act(p.slot, f"thread {i}", then=heard)


def idle_thread(r: random.Random, p: Process) -> tuple[int, Thread] | None:
    idle = [(i, t) for i, t in sorted(p.threads.items()) if not t.reads]
    return r.choice(idle) if idle else None


@act(6)
def do_count(w: World, r: random.Random, p: Process) -> Act | None:
    got = idle_thread(r, p)
    if not got:
        return None
    n = r.randint(-1000, 1000)
    got[1].total += n
    return Act(p.slot, f"count {got[0]} {n}", str(got[1].total))


@act(1)
def do_end_thread(w: World, r: random.Random, p: Process) -> Act | None:
    got = idle_thread(r, p)
    if not got:
        return None
    del p.threads[got[0]]
    return Act(p.slot, f"end_thread {got[0]}", "0")


@act(4)
def do_begin_read(w: World, r: random.Random, p: Process) -> Act | None:
    """A thread blocks in a read that something else must end."""
    thread = idle_thread(r, p)
    got = chosen_fd(w, r, p, lambda o: o.kind != "file" and o.readable and
                    not o.flags & os.O_NONBLOCK and w.would_block(o) and
                    not any(t.reads and (t.reads is o or t.reads.queue is o.queue is not None)
                            for q in w.processes.values() for t in q.threads.values()))
    if not thread or not got:
        return None
    thread[1].reads, thread[1].wants = got[1], r.randint(8, 200)
    return Act(p.slot, f"begin_read {thread[0]} {got[0]} {thread[1].wants}", "0")


def ended_reads(w: World) -> list[Act]:
    """What threads that waited have read by now."""
    found = []
    for p in sorted(w.processes.values(), key=lambda p: p.slot):
        for i, thread in sorted(p.threads.items()):
            if not thread.reads or w.would_block(thread.reads):
                continue
            try:
                want = told(w.read(thread.reads, thread.wants))
            except Error as error:
                want = f"-{error.code}"
            thread.reads = None
            found.append(Act(p.slot, f"end_read {i}", want))
    return found


@act(5)
def do_fork(w: World, r: random.Random, p: Process) -> Act | None:
    free = [i for i in range(SLOTS) if i not in w.processes]
    if not free:
        return None
    slot = r.choice(free)

    def heard(answer: str) -> None:
        if answer.startswith("-"):
            raise Difference(f"fork answered {answer}")
        w.fork(p, slot, int(answer))
    return Act(p.slot, f"fork {slot}", then=heard)


def may_end(w: World, p: Process) -> bool:
    """Would no TCP connection be reset by its end?"""
    if p.slot == POST:
        return False
    mine = {id(h.what): h.what for h in p.fds.values()}.values()
    others = {id(h.what) for q in w.processes.values() if q is not p for h in q.fds.values()}
    return all(id(o) in others or o.kind != "tcp" or not o.queue or not o.queue.pieces
               for o in mine)


@act(2)
def do_exit(w: World, r: random.Random, p: Process) -> Act | None:
    if not may_end(w, p):
        return None
    code = r.randrange(256)
    w.end(p, code << 8)
    return Act(p.slot, f"exit {code}", "0")


@act(1)
def do_destroy(w: World, r: random.Random, p: Process) -> Act | None:
    if not may_end(w, p):
        return None
    w.end(p, signal.SIGKILL)
    return Act(p.slot, f"destroy {int(signal.SIGKILL)}", "0")


@act(1)
def do_exec(w: World, r: random.Random, p: Process) -> Act | None:
    if p.slot == POST or any(t.reads for t in p.threads.values()):
        return None
    if any(h.cloexec and not may_close(w, h.what) for h in p.fds.values()):
        return None
    w.execute(p)
    return Act(p.slot, "exec", "0")


@act(4)
def do_wait(w: World, r: random.Random, p: Process) -> Act | None:
    found = [z for z in w.zombies if z.ppid == p.pid]
    if not found:
        return None
    zombie = r.choice(found)
    w.zombies.remove(zombie)
    return Act(p.slot, f"wait {zombie.pid}", f"{zombie.pid} {zombie.status}")


@act(2)
def do_handle(w: World, r: random.Random, p: Process) -> Act | None:
    number, how = r.choice(SIGNALS), r.choice((0, 1, 2, 2, 2))
    if p.slot == POST and how == 0:
        return None
    p.actions[number] = how
    if how == 1:
        p.pending = [s for s in p.pending if s[0] != number]
    return Act(p.slot, f"handle {int(number)} {how}", "0")


@act(3)
def do_mask(w: World, r: random.Random, p: Process) -> Act | None:
    number, block = r.choice(SIGNALS), r.random() < .5
    if block:
        p.blocked.add(number)
    else:
        if any(s[0] == number for s in p.pending) and not p.actions.get(number):
            return None     # would end it
        p.blocked.discard(number)
        p.deliver()
    how = signal.SIG_BLOCK if block else signal.SIG_UNBLOCK
    return Act(p.slot, f"mask {int(number)} {int(how)}", "0")


@act(6)
def do_send(w: World, r: random.Random, p: Process) -> Act | None:
    to = r.choice(sorted(w.processes.values(), key=lambda p: p.slot))
    number, value = int(r.choice(SIGNALS)), r.randint(-3, 1000)
    if not to.actions.get(number) and number not in to.blocked:
        return None     # would end it
    if len(to.pending) > 20:
        return None
    w.send(to, number, max(value, 0))
    return Act(p.slot, f"send {to.pid} {number} {value}", "0")


@act(1)
def do_umask(w: World, r: random.Random, p: Process) -> Act | None:
    was, p.umask = p.umask, r.randrange(0o100)
    return Act(p.slot, f"umask {p.umask}", str(was))


@act(1)
def do_name(w: World, r: random.Random, p: Process) -> Act | None:
    p.name = f"a{r.randrange(10 ** 6)}"
    return Act(p.slot, f"name {p.name}", "0")


@act(1)
def do_nice(w: World, r: random.Random, p: Process) -> Act | None:
    if p.nice >= 19:
        return None
    p.nice = r.randint(p.nice, 19)
    return Act(p.slot, f"nice {p.nice}", "0")


@act(1)
def do_rlimit(w: World, r: random.Random, p: Process) -> Act | None:
    p.core = r.randrange(1 << 20)
    return Act(p.slot, f"rlimit 4 {p.core} {1 << 40}", None)


@act(1)
def do_setsid(w: World, r: random.Random, p: Process) -> Act | None:
    members = [*w.processes.values(), *w.zombies]
    if any(q.ppid == p.pid for q in members) and r.random() < RARE:
        return None     # could not be saved any more
    if any(q.group == p.pid for q in members):
        return Act(p.slot, "setsid", FAILS)
    p.group = p.session = p.pid
    return Act(p.slot, "setsid", str(p.pid))


@act(1)
def do_setpgid(w: World, r: random.Random, p: Process) -> Act | None:
    if p.session == p.pid:
        return Act(p.slot, "setpgid 0 0", FAILS)
    p.group = p.pid
    return Act(p.slot, "setpgid 0 0", "0")

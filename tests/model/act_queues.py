"""Pipes, sockets and eventfds: what has two ends or counts."""

from __future__ import annotations

import os
import random
from typing import Iterator

from acting import Act, act, any_bytes, chosen_fd, FAILS, FDS_MOST, is_read, PIECES_MOST
from world import Error, Open, Process, Queue, World, told


@act(4)
def do_pipe(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST - 2:
        return None
    queue, flag = Queue(), r.choice((0, os.O_NONBLOCK))
    ends = [Open("pipe", how | flag, queue=queue) for how in (os.O_RDONLY, os.O_WRONLY)]
    return Act(p.slot, f"pipe {flag}", " ".join(str(p.place(end)) for end in ends))


def pair_of(kind: str, messages: bool) -> list[Open]:
    a, b = (Open(kind, os.O_RDWR, queue=Queue(messages=messages)) for _ in range(2))
    a.peer, b.peer = b, a
    return [a, b]


@act(4)
def do_pair(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST - 2:
        return None
    messages = r.random() < .4
    ends = pair_of("unix", messages)
    return Act(p.slot, f"pair {5 if messages else 1}",
               " ".join(str(p.place(end)) for end in ends))


@act(2)
def do_tcp(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST - 3:
        return None
    ends = pair_of("tcp", False)
    taken = p.free_fd()     # by the listening socket, for a moment
    p.place(ends[0])
    numbers = [p.place(ends[0]), p.place(ends[1])]
    del p.fds[taken]
    return Act(p.slot, "tcp", " ".join(map(str, numbers)))


@act(2)
def do_eventfd(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST:
        return None
    count, semaphore = r.randrange(4), r.random() < .5
    what = Open("event", os.O_RDWR, count=count, semaphore=semaphore)
    return Act(p.slot, f"eventfd {count} {int(semaphore)}", str(p.place(what)))


@act(10)
def do_read_queue(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind != "file")
    return queue_read(w, p, got, r.randint(8, 4000)) if got else None


def queue_read(w: World, p: Process, got: tuple[int, Open], n: int) -> Act | None:
    fd, what = got
    if what.kind == "tcp" and not w.would_block(what):
        assert what.queue
        n = min(n, sum(map(len, what.queue.pieces))) or n
        text = f"read {fd} {n} 1"
    else:
        text = f"read {fd} {n}"
    if is_read(w, what) and not w.would_block(what):
        return None
    if not what.readable:
        return Act(p.slot, text, FAILS)
    try:
        return Act(p.slot, text, told(w.read(what, n)))
    except Error as error:
        return Act(p.slot, text, f"-{error.code}")


@act(14)
def do_write_queue(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind != "file" and has_room(what))
    if not got:
        return None
    words, data = any_bytes(r, 300)
    if got[1].kind == "event":
        data = bytes([r.randint(0, 9), *bytes(7)])
        words = f"1 {data.hex()}"
    if not got[1].writable:
        return Act(p.slot, f"write {got[0]} {words}", FAILS)
    try:
        return Act(p.slot, f"write {got[0]} {words}", str(w.write(got[1], data)))
    except Error as error:
        return Act(p.slot, f"write {got[0]} {words}", f"-{error.code}")


def has_room(what: Open) -> bool:
    if what.kind == "tcp" and what.peer_gone:
        return False        # would be answered by a reset
    to = what.peer.queue if what.peer else what.queue
    return to is None or len(to.pieces) < PIECES_MOST


@act(1)
def do_shutdown(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "unix" and not what.peer_gone)
    if not got or not got[1].peer:
        return None
    how = r.randrange(2)
    reads, writes = (got[1], got[1].peer) if how == 0 else (got[1].peer, got[1])
    reads.read_shut = writes.write_shut = True
    return Act(p.slot, f"shutdown {got[0]} {how}", "0")


def drained(w: World) -> Iterator[Act]:
    """Read all queues to their ends."""
    for p in sorted(w.processes.values(), key=lambda p: p.slot):
        for fd, handle in sorted(p.fds.items()):
            what = handle.what
            while what.queue and what.queue.pieces and what.readable and \
                    (done := queue_read(w, p, (fd, what), 4000)):
                yield done

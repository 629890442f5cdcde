"""What actors may do: a choice by chance, the request, and what must be answered.

An act looks at the world, picks what it needs (None: there is none such now),
changes the world and says what the actor must answer.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import random
import signal
from dataclasses import dataclass
from typing import Callable, Iterator

from picture import Difference
from world import (PAGE, POST, SHM, TOP, Error, Inode, Memory, Open, Process, Queue, Thread,
                   World, told)

SLOTS, AREAS, HELPERS = 10, 6, 3
FILE_MOST = 6 * PAGE
FDS_MOST = 24
PIECES_MOST, QUEUED_MOST = 8, 3000
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


# files and names


def may_shrink(w: World, inode: Inode) -> bool:
    return not w.mapped(inode)


@act(10)
def do_open(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST:
        return None
    path, mode = any_path(r), 0o600 | r.randrange(0o1000)
    flags = r.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
    for bit, chance in ((os.O_CREAT, .7), (os.O_TRUNC, .2), (os.O_APPEND, .2),
                        (os.O_CLOEXEC, .2), (os.O_EXCL, .1), (os.O_NONBLOCK, .1)):
        flags |= bit if r.random() < chance else 0
    fresh = flags & os.O_CREAT and flags & os.O_EXCL
    try:
        parent, name, inode = w.walk(path, follow=not fresh)
    except Error:
        return Act(p.slot, f"open {path} {flags} {mode}", FAILS)
    if inode and inode.kind in "dp" and not fresh:
        return None if inode.kind == "d" else open_fifo(w, p, path, inode)
    if inode and flags & os.O_TRUNC and not may_shrink(w, inode):
        return None
    if inode and fresh or not inode and not flags & os.O_CREAT:
        return Act(p.slot, f"open {path} {flags} {mode}", FAILS)
    if not inode:
        inode = parent.entries[name] = Inode("f", mode & ~p.umask)
        parent.mtime = None
    if flags & os.O_TRUNC:
        inode.resize(0)
    kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK)
    fd = p.place(Open("file", kept, inode), bool(flags & os.O_CLOEXEC))
    return Act(p.slot, f"open {path} {flags} {mode}", str(fd))


def open_fifo(w: World, p: Process, path: str, inode: Inode) -> Act | None:
    """With both ends, or it would wait. Not in memory: docs/limits.md."""
    if w.in_memory(inode):
        return None
    flags = os.O_RDWR | os.O_NONBLOCK
    inode.queue = inode.queue or Queue()
    fd = p.place(Open("pipe", flags, inode, queue=inode.queue))
    return Act(p.slot, f"open {path} {flags}", str(fd))


@act(2)
def do_open_unnamed(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST:
        return None
    mode = r.randrange(0o1000)
    inode = Inode("f", mode & ~p.umask, links=0)
    flags = os.O_RDWR | os.O_TMPFILE
    return Act(p.slot, f"open {TOP} {flags} {mode}", str(p.place(Open("file", os.O_RDWR, inode))))


@act(2)
def do_memfd(w: World, r: random.Random, p: Process) -> Act | None:
    if len(p.fds) >= FDS_MOST:
        return None
    size = r.randint(0, FILE_MOST)
    inode = Inode("f", 0o777, links=0, data=bytearray(size))
    return Act(p.slot, f"memfd m{size} {size}", str(p.place(Open("file", os.O_RDWR, inode))))


@act(8)
def do_close(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: may_close(w, what))
    if not got:
        return None
    del p.fds[got[0]]
    p.closed(got[1])
    w.dropped([got[1]])
    return Act(p.slot, f"close {got[0]}", "0")


def may_close(w: World, what: Open) -> bool:
    """Not under a thread that reads; and no end of a TCP connection with
    something left to read, which would reset it."""
    return not is_read(w, what) and not (what.kind == "tcp" and what.queue and what.queue.pieces)


@act(3)
def do_dup(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: True)
    if not got or len(p.fds) >= FDS_MOST:
        return None
    return Act(p.slot, f"dup {got[0]}", str(p.place(got[1])))


@act(2)
def do_dup2(w: World, r: random.Random, p: Process) -> Act | None:
    a = chosen_fd(w, r, p, lambda what: True)
    b = chosen_fd(w, r, p, lambda what: may_close(w, what))
    if not a or not b:
        return None
    if a[0] != b[0]:
        p.fds[b[0]].what, p.fds[b[0]].cloexec = a[1], False
        p.closed(b[1])
        w.dropped([b[1]])
    return Act(p.slot, f"dup2 {a[0]} {b[0]}", str(b[0]))


@act(2)
def do_setfl(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    flags = r.choice((0, os.O_APPEND, os.O_NONBLOCK, os.O_APPEND | os.O_NONBLOCK))
    got[1].flags = got[1].flags & os.O_ACCMODE | flags
    return Act(p.slot, f"setfl {got[0]} {flags}", "0")


@act(1)
def do_setfd(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: True)
    if not got:
        return None
    p.fds[got[0]].cloexec = r.random() < .5
    return Act(p.slot, f"setfd {got[0]} {int(p.fds[got[0]].cloexec)}", "0")


@act(4)
def do_lseek(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    got[1].pos = r.randrange(FILE_MOST)
    return Act(p.slot, f"lseek {got[0]} {got[1].pos} 0", str(got[1].pos))


@act(10)
def do_read_file(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    fd, what = got
    n = r.randint(1, FILE_MOST)
    assert what.inode
    if r.random() < .5:
        at = r.randrange(FILE_MOST)
        text, data = f"pread {fd} {at} {n}", bytes(what.inode.data[at:at + n])
    else:
        text, data = f"read {fd} {n}", bytes(what.inode.data[what.pos:what.pos + n])
        what.pos += len(data) if what.readable else 0
    return Act(p.slot, text, told(data) if what.readable else FAILS)


@act(12)
def do_write_file(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    fd, what = got
    words, data = any_bytes(r, 3 * PAGE)
    assert what.inode
    by_place = r.random() < .5
    at = r.randrange(FILE_MOST) if by_place else what.pos
    text = f"pwrite {fd} {at} {words}" if by_place else f"write {fd} {words}"
    if not what.writable:
        return Act(p.slot, text, FAILS)
    if what.flags & os.O_APPEND:
        at = len(what.inode.data)
    if at + len(data) > FILE_MOST:
        return None
    what.inode.put(at, data)
    if not by_place:
        what.pos = at + len(data)
    return Act(p.slot, text, str(len(data)))


@act(3)
def do_ftruncate(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file" and what.writable)
    if not got:
        return None
    assert got[1].inode
    size = r.randrange(FILE_MOST)
    if size < len(got[1].inode.data) and not may_shrink(w, got[1].inode):
        return None
    got[1].inode.resize(size)
    return Act(p.slot, f"ftruncate {got[0]} {size}", "0")


@act(2)
def do_truncate(w: World, r: random.Random, p: Process) -> Act | None:
    path, size = any_path(r), r.randrange(FILE_MOST)
    try:
        inode = w.find(path)
    except Error:
        return Act(p.slot, f"truncate {path} {size}", FAILS)
    if inode.kind != "f":
        return Act(p.slot, f"truncate {path} {size}", FAILS)
    if size < len(inode.data) and not may_shrink(w, inode):
        return None
    inode.resize(size)
    return Act(p.slot, f"truncate {path} {size}", "0")


@act(3)
def do_flock(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    how = r.choice((fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX, fcntl.LOCK_UN))
    want = attempt(lambda: w.lock(got[1], how % fcntl.LOCK_UN))
    return Act(p.slot, f"flock {got[0]} {how}", want)


@act(3)
def do_lock(w: World, r: random.Random, p: Process) -> Act | None:
    """Not by the post, who loses them by looking at the files."""
    if p.slot == POST:
        return None
    got = chosen_fd(w, r, p, lambda what: what.kind == "file")
    if not got:
        return None
    how = r.choice((0, fcntl.LOCK_SH, fcntl.LOCK_EX, fcntl.LOCK_EX))
    kind = {0: fcntl.F_UNLCK, fcntl.LOCK_SH: fcntl.F_RDLCK, fcntl.LOCK_EX: fcntl.F_WRLCK}[how]
    want = attempt(lambda: w.lock_posix(p, got[1], how))
    return Act(p.slot, f"lock {got[0]} {kind}", want)


def keeps_name(w: World, inode: Inode | None) -> bool:
    """A file that is mapped keeps its names (docs/limits.md), one in memory
    that is open, too, if it has several, and a directory that somebody is in."""
    return inode is not None and (
        w.mapped(inode) or
        inode.kind == "f" and inode.links > 1 and w.in_memory(inode) and
        any(o.inode is inode for o in w.opens()) or
        any(p.cwd in w.below(inode) for p in w.processes.values()))


@act(6)
def do_unlink(w: World, r: random.Random, p: Process) -> Act | None:
    path = any_path(r)
    try:
        inode = w.walk(path, follow=False)[2]
        if keeps_name(w, inode):
            return None
    except Error:
        pass
    return Act(p.slot, f"unlink {path}", attempt(lambda: w.unlink(path)))


@act(2)
def do_rmdir(w: World, r: random.Random, p: Process) -> Act | None:
    path = any_path(r)
    try:
        if keeps_name(w, w.walk(path, follow=False)[2]):
            return None
    except Error:
        pass
    return Act(p.slot, f"rmdir {path}", attempt(lambda: w.rmdir(path)))


@act(6)
def do_rename(w: World, r: random.Random, p: Process) -> Act | None:
    a, b = any_path(r), any_path(r)
    text = f"rename {a} {b}"
    try:
        inode, there = w.walk(a, follow=False)[2], w.walk(b, follow=False)[2]
    except Error:
        return Act(p.slot, text, FAILS)
    if keeps_name(w, there) and there is not inode:
        return None
    if not inode or inode.kind != "d" or os.geteuid() == 0:
        return Act(p.slot, text, attempt(lambda: w.rename(a, b)))

    def heard(answer: str) -> None:
        """Without root a directory of a lower layer cannot be renamed."""
        if answer == "-18":
            return
        want = attempt(lambda: w.rename(a, b))
        Act(p.slot, text, want).heard(answer)

    return Act(p.slot, text, then=heard)


@act(4)
def do_link(w: World, r: random.Random, p: Process) -> Act | None:
    a, b = any_path(r), any_path(r)
    try:
        inode = w.find(a, follow=False)
    except Error:
        return Act(p.slot, f"link {a} {b}", FAILS)
    if inode.kind in "lp":
        return None     # not kept: docs/limits.md
    return Act(p.slot, f"link {a} {b}", attempt(lambda: w.link(a, b)))


@act(4)
def do_mkdir(w: World, r: random.Random, p: Process) -> Act | None:
    path, mode = any_path(r), 0o700 | r.randrange(0o100)
    return Act(p.slot, f"mkdir {path} {mode}",
               attempt(lambda: w.add(path, Inode("d", mode & ~p.umask))))


@act(2)
def do_symlink(w: World, r: random.Random, p: Process) -> Act | None:
    path, target = any_path(r), r.choice((r.choice("abcd"), any_path(r)))
    return Act(p.slot, f"symlink {target} {path}",
               attempt(lambda: w.add(path, Inode("l", 0o777, target=target))))


@act(2)
def do_mkfifo(w: World, r: random.Random, p: Process) -> Act | None:
    path, mode = any_path(r), 0o600 | r.randrange(0o1000)
    return Act(p.slot, f"mkfifo {path} {mode}",
               attempt(lambda: w.add(path, Inode("p", mode & ~p.umask))))


@act(3)
def do_chmod(w: World, r: random.Random, p: Process) -> Act | None:
    path, mode = any_path(r), r.randrange(0o1000)

    def change() -> None:
        inode = w.find(path)
        inode.mode = mode
    return Act(p.slot, f"chmod {path} {mode}", attempt(change))


@act(2)
def do_utime(w: World, r: random.Random, p: Process) -> Act | None:
    path, s, ns = any_path(r), r.randrange(1 << 31), r.randrange(10 ** 9)

    def change() -> None:
        w.find(path, follow=False).mtime = f"{s}.{ns:09}"
    return Act(p.slot, f"utime {path} {s} {ns}", attempt(change))


@act(3)
def do_setxattr(w: World, r: random.Random, p: Process) -> Act | None:
    path, name, value = any_path(r), f"user.{r.choice('xyz')}", f"{r.randrange(1000)}"
    try:
        if w.in_memory(w.find(path, follow=False)):
            return None     # as of Linux 6.6
    except Error:
        pass

    def change() -> None:
        inode = w.find(path, follow=False)
        if inode.kind in "lp":
            raise Error(1)
        inode.attributes[name] = value
    return Act(p.slot, f"setxattr {path} {name} {value}", attempt(change))


@act(1)
def do_removexattr(w: World, r: random.Random, p: Process) -> Act | None:
    path, name = any_path(r), f"user.{r.choice('xyz')}"

    def change() -> None:
        inode = w.find(path, follow=False)
        if name not in inode.attributes:
            raise Error(61)
        del inode.attributes[name]
    return Act(p.slot, f"removexattr {path} {name}", attempt(change))


@act(2)
def do_chdir(w: World, r: random.Random, p: Process) -> Act | None:
    path = r.choice((TOP, SHM, any_path(r)))

    def change() -> None:
        inode = w.find(path)
        if inode.kind != "d":
            raise Error(20)
        p.cwd = inode
    return Act(p.slot, f"chdir {path}", attempt(change))


# memory


@act(6)
def do_map(w: World, r: random.Random, p: Process) -> Act | None:
    area, pages, offset = r.randrange(AREAS), r.randint(1, 5), 0
    if area in p.areas:
        return None
    fd, flags = -1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = Memory(bytearray(pages * PAGE), pages=pages)
    kind = r.choice("psfc")
    if kind == "s":
        flags, memory.shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, True
    if kind in "fc":
        got = chosen_fd(w, r, p, lambda o: o.kind == "file" and o.readable and
                        (o.writable or kind == "c") and o.inode is not None and
                        o.inode.links < 2 and len(o.inode.data) >= PAGE)
        if not got or not got[1].inode:
            return None
        fd, what = got
        assert what.inode
        there = len(what.inode.data) // PAGE
        offset = r.randrange(there)
        pages = min(pages, there - offset)
        memory = Memory(bytearray(pages * PAGE), kind == "f", what.inode, offset * PAGE, pages,
                        changes=what.inode.changes)
        flags = mmap.MAP_SHARED if kind == "f" else mmap.MAP_PRIVATE
    p.areas[area] = memory
    return Act(p.slot, f"map {area} {pages} {flags} {fd} {offset}", "0")


def chosen_area(r: random.Random, p: Process) -> tuple[int, Memory] | None:
    return r.choice(sorted(p.areas.items(), key=lambda i: i[0])) if p.areas else None


@act(2)
def do_unmap(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_area(r, p)
    if not got:
        return None
    del p.areas[got[0]]
    return Act(p.slot, f"unmap {got[0]}", "0")


@act(14)
def do_store(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_area(r, p)
    if not got:
        return None
    page = r.randrange(got[1].pages)
    if page in got[1].read_only or got[1].page(page) is None:
        return None
    words, data = any_bytes(r, PAGE)
    at = page * PAGE + r.randint(0, PAGE - len(data))
    got[1].store(at, data)
    return Act(p.slot, f"store {got[0]} {at} {words}", "0")


@act(4)
def do_load(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_area(r, p)
    if not got:
        return None
    page = r.randrange(got[1].pages)
    data = got[1].page(page)
    if data is None:
        return None
    at = r.randrange(PAGE)
    n = r.randint(1, PAGE - at)
    return Act(p.slot, f"load {got[0]} {page * PAGE + at} {n}", told(data[at:at + n]))


@act(2)
def do_protect(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_area(r, p)
    if not got:
        return None
    first = r.randrange(got[1].pages)
    pages = set(range(first, r.randint(first + 1, got[1].pages)))
    writable = r.random() < .6
    got[1].read_only = got[1].read_only - pages if writable else got[1].read_only | pages
    how = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return Act(p.slot, f"protect {got[0]} {first} {len(pages)} {how}", "0")


@act(2)
def do_forget(w: World, r: random.Random, p: Process) -> Act | None:
    got = chosen_area(r, p)
    if not got:
        return None
    page = r.randrange(got[1].pages)
    got[1].forget(page)
    return Act(p.slot, f"forget {got[0]} {page} 1", "0")


# queues


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


# threads


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


# processes and signals


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


WEIGHTS = [weight for weight, _ in ACTS]


def choose(w: World, r: random.Random) -> Act:
    """One act that can be done now."""
    while True:
        p = w.processes[r.choice(sorted(w.processes))]
        chooser = r.choices(ACTS, WEIGHTS)[0][1]
        if done := chooser(w, r, p):
            return done


def drained(w: World) -> Iterator[Act]:
    """Read all queues to their ends."""
    for p in sorted(w.processes.values(), key=lambda p: p.slot):
        for fd, handle in sorted(p.fds.items()):
            what = handle.what
            while what.queue and what.queue.pieces and what.readable and \
                    (done := queue_read(w, p, (fd, what), 4000)):
                yield done

"""Names, contents and descriptors of files."""

from __future__ import annotations

import fcntl
import os
import random

from acting import (Act, act, any_bytes, any_path, attempt, chosen_fd, FAILS, FDS_MOST,
                    FILE_MOST, may_close)
from world import PAGE, POST, SHM, TOP, Error, Inode, Open, Process, Queue, World, told


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

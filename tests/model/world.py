"""What must be true inside a sandbox: files, processes, what they have open.

Nothing here knows of the product. A World changes by its methods exactly as a
kernel changes; what a kernel chooses by itself (process ids, times) is None
until it was looked at once, and must stay from then on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import zlib
from dataclasses import dataclass, field

PAGE = 4096
TOP = "/w/t"            # the trees of files that are watched: on disk,
SHM = "/dev/shm/t"      # and in memory
POST = 0                # the slot of the first process
MASK64 = (1 << 64) - 1


class Error(Exception):
    """The call fails with this errno."""

    def __init__(self, code: int) -> None:
        super().__init__(errno.errorcode[code])
        self.code = code


@dataclass(eq=False)
class Inode:
    """kind: f file, d directory, l symbolic link, p FIFO."""

    kind: str
    mode: int
    links: int = 1
    data: bytearray = field(default_factory=bytearray)
    entries: dict[str, Inode] = field(default_factory=dict)
    target: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    mtime: str | None = None
    changes: int = 0                # of its contents so far
    queue: Queue | None = None      # of a FIFO while it is open

    def resize(self, size: int) -> None:
        self.data = self.data[:size] + bytes(max(0, size - len(self.data)))
        self.mtime = None
        self.changes += 1

    def put(self, at: int, data: bytes) -> None:
        if at > len(self.data):
            self.resize(at)
        self.data[at:at + len(data)] = data
        self.mtime = None
        self.changes += 1


@dataclass(eq=False)
class Queue:
    """What waits to be read: bytes in pieces, or messages."""

    pieces: list[bytes] = field(default_factory=list)
    messages: bool = False

    def take(self, n: int) -> bytes:
        if self.messages:
            return self.pieces.pop(0)[:n]
        all_bytes = b"".join(self.pieces)
        self.pieces = [all_bytes[n:]] if len(all_bytes) > n else []
        return all_bytes[:n]


@dataclass(eq=False)
class Open:
    """An open file description. kind: file, pipe, unix, tcp, event."""

    kind: str
    flags: int
    inode: Inode | None = None
    pos: int = 0
    lock: int = 0                   # LOCK_SH, LOCK_EX
    queue: Queue | None = None      # what is read here
    peer: Open | None = None        # of a socket; its queue is what is sent to
    read_shut: bool = False
    write_shut: bool = False
    peer_gone: bool = False
    error: int = 0                  # that the next read tells
    count: int = 0
    semaphore: bool = False

    @property
    def readable(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_WRONLY

    @property
    def writable(self) -> bool:
        return self.flags & os.O_ACCMODE != os.O_RDONLY


@dataclass(eq=False)
class Memory:
    """Bytes of an area: of its own, shared with other processes, or a file's.

    What a private mapping of a file shows where it was not written to is not
    known once the file has changed."""

    data: bytearray
    shared: bool = False
    inode: Inode | None = None
    offset: int = 0
    pages: int = 0
    read_only: set[int] = field(default_factory=set)
    changes: int = 0                        # of the file when it was mapped
    written: set[int] = field(default_factory=set)      # pages of a private one

    def page(self, i: int) -> bytes | None:
        """What a page shows, None where that is not known."""
        data, at = self.data, i * PAGE
        if self.inode and i not in self.written:
            data, at = self.inode.data, at + self.offset
            if not self.shared and self.inode.changes != self.changes:
                return None
        return bytes(data[at:at + PAGE])

    def store(self, at: int, data: bytes) -> None:
        """Within one page, that is known."""
        i = at // PAGE
        if self.inode and self.shared:
            self.inode.put(self.offset + at, data)
            return
        if self.inode and i not in self.written:
            self.data[i * PAGE:(i + 1) * PAGE] = self.page(i) or b""
            self.written.add(i)
        self.data[at:at + len(data)] = data

    def forget(self, i: int) -> None:
        """The page is as if never touched."""
        if self.shared:
            return
        if self.inode:
            self.written.discard(i)
        else:
            self.data[i * PAGE:(i + 1) * PAGE] = bytes(PAGE)


@dataclass(eq=False)
class Thread:
    tid: int
    total: int = 0
    reads: Open | None = None       # blocked in a read of it
    wants: int = 0


@dataclass(eq=False)
class Handle:
    """A descriptor: two may be of one description."""

    what: Open
    cloexec: bool = False


@dataclass(eq=False)
class Process:
    slot: int
    pid: int
    ppid: int
    group: int
    session: int
    cwd: Inode
    umask: int = 0o22
    nice: int = 0
    name: str = "actor"
    core: int = 0
    fds: dict[int, Handle] = field(default_factory=dict)
    areas: dict[int, Memory] = field(default_factory=dict)
    threads: dict[int, Thread] = field(default_factory=dict)
    actions: dict[int, int] = field(default_factory=dict)   # 0 default, 1 ignored, 2 counted
    blocked: set[int] = field(default_factory=set)
    pending: list[tuple[int, int]] = field(default_factory=list)
    handled: int = 0
    sum: int = 0
    locks: list[tuple[Inode, int]] = field(default_factory=list)    # POSIX ones of whole files
    status: int | None = None       # a zombie's

    def free_fd(self) -> int:
        return next(n for n in range(3, 64) if n not in self.fds)

    def closed(self, what: Open) -> None:
        """A descriptor of it was: with any of them go the locks of the file."""
        self.locks = [held for held in self.locks if held[0] is not what.inode]

    def place(self, what: Open, cloexec: bool = False) -> int:
        n = self.free_fd()
        self.fds[n] = Handle(what, cloexec)
        return n

    def deliver(self) -> None:
        """What is pending and not blocked is handled, low numbers first."""
        ready = sorted((s for s in self.pending if s[0] not in self.blocked),
                       key=lambda s: s[0])
        self.pending = [s for s in self.pending if s[0] in self.blocked]
        for number, value in ready:
            if self.actions.get(number) == 2:
                self.handled += 1
                self.sum = ((self.sum ^ (number << 32 | value)) * 0x9e3779b97f4a7c15 + 1) & MASK64


SIGNAL_RT = 32      # from here on every one that is sent arrives


class World:
    """A sandbox as it must be."""

    def __init__(self) -> None:
        self.top = Inode("d", 0o755)
        self.shm = Inode("d", 0o755)
        self.processes: dict[int, Process] = {}
        self.zombies: list[Process] = []

    # files

    def walk(self, path: str, follow: bool = True, base: Inode | None = None,
             depth: int = 0) -> tuple[Inode, str, Inode | None]:
        """The directory, the last name and what it is (None: nothing)."""
        if depth > 20:
            raise Error(errno.ELOOP)
        for top, inode in ((TOP, self.top), (SHM, self.shm)):
            if path.startswith(top):
                base, path = inode, path[len(top):]
        here = base or self.top
        names = [n for n in path.split("/") if n]
        if not names:
            return here, "", here
        for i, name in enumerate(names):
            if here.kind != "d":
                raise Error(errno.ENOTDIR)
            found = here.entries.get(name)
            last = i == len(names) - 1
            if found and found.kind == "l" and (follow or not last):
                parent, name, found = self.walk(found.target, True, here, depth + 1)
                if last:
                    return parent, name, found
            elif last:
                return here, name, found
            if not found:
                raise Error(errno.ENOENT)
            here = found
        raise AssertionError

    def find(self, path: str, follow: bool = True) -> Inode:
        found = self.walk(path, follow)[2]
        if not found:
            raise Error(errno.ENOENT)
        return found

    def add(self, path: str, inode: Inode) -> Inode:
        """A new name; a symbolic link there counts as something."""
        parent, name, found = self.walk(path, follow=False)
        if found:
            raise Error(errno.EEXIST)
        parent.entries[name] = inode
        parent.mtime = None
        return inode

    def link(self, a: str, b: str) -> None:
        inode = self.find(a, follow=False)
        if inode.kind == "d":
            raise Error(errno.EPERM)
        if self.in_memory(self.walk(b, follow=False)[0]) != self.in_memory(inode):
            raise Error(errno.EXDEV)
        self.add(b, inode)
        inode.links += 1

    def unlink(self, path: str) -> None:
        parent, name, found = self.walk(path, follow=False)
        if not found:
            raise Error(errno.ENOENT)
        if found.kind == "d":
            raise Error(errno.EISDIR)
        del parent.entries[name]
        parent.mtime = None
        found.links -= 1

    def rmdir(self, path: str) -> None:
        parent, name, found = self.walk(path, follow=False)
        if not found or found is self.top:
            raise Error(errno.ENOENT)
        if found.kind != "d":
            raise Error(errno.ENOTDIR)
        if found.entries:
            raise Error(errno.ENOTEMPTY)
        del parent.entries[name]
        parent.mtime = None

    def remove_all(self, path: str) -> None:
        """rm -rf"""
        try:
            parent, name, found = self.walk(path, follow=False)
        except Error as error:
            if error.code == errno.ELOOP:
                raise
            return
        if found:
            del parent.entries[name]
            parent.mtime = None
            for inode in self.below(found):
                inode.links -= inode.kind != "d"

    def in_memory(self, inode: Inode) -> bool:
        return any(i is inode for i in self.below(self.shm))

    def below(self, inode: Inode) -> list[Inode]:
        """It and all names in it; a file once for each name."""
        found = [inode]
        for entry in inode.entries.values():
            found += self.below(entry)
        return found

    def rename(self, a: str, b: str) -> None:
        old, name, inode = self.walk(a, follow=False)
        new, new_name, there = self.walk(b, follow=False)
        if not inode:
            raise Error(errno.ENOENT)
        if self.in_memory(old) != self.in_memory(new):
            raise Error(errno.EXDEV)
        if inode.kind == "d" and any(i is new for i in self.below(inode)):
            raise Error(errno.EINVAL)
        if there is inode:
            return
        if there:
            if there.kind == "d" and (there.entries or any(i is old for i in self.below(there))):
                raise Error(errno.ENOTEMPTY)
            if (there.kind == "d") != (inode.kind == "d"):
                raise Error(errno.ENOTDIR)
            there.links -= there.kind != "d"
        del old.entries[name]
        new.entries[new_name] = inode
        old.mtime = new.mtime = None

    def path_of(self, inode: Inode) -> str:
        def search(here: Inode, path: str) -> str:
            if here is inode:
                return path
            for name, entry in here.entries.items():
                if entry.kind == "d" and (found := search(entry, f"{path}/{name}")):
                    return found
            return ""
        return search(self.top, TOP) or search(self.shm, SHM)

    # what is open

    def opens(self) -> list[Open]:
        """All open file descriptions, each once."""
        seen = {id(h.what): h.what for p in self.processes.values() for h in p.fds.values()}
        return list(seen.values())

    def is_open(self, what: Open) -> bool:
        return any(h.what is what for p in self.processes.values() for h in p.fds.values())

    def mapped(self, inode: Inode) -> bool:
        return any(m.inode is inode for p in self.processes.values() for m in p.areas.values())

    def dropped(self, gone: list[Open]) -> None:
        """Descriptors of these were closed; do what their last one does."""
        for what in gone:
            if self.is_open(what):
                continue
            if what.peer:
                what.peer.peer_gone = True
                if what.kind == "unix" and what.queue and what.queue.pieces:
                    what.peer.error = errno.ECONNRESET
            if what.inode and what.inode.kind == "p" and \
                    not any(o.inode is what.inode for o in self.opens()):
                what.inode.queue = None

    def ends_of(self, what: Open, writing: bool) -> bool:
        """Has the pipe of `what` an open end for reading, or writing?"""
        return any(o.queue is what.queue and (o.writable if writing else o.readable)
                   for o in self.opens() if o.kind == "pipe")

    def at_end(self, what: Open) -> bool:
        """Is there no more to be read, ever?"""
        if what.kind == "pipe":
            return not self.ends_of(what, True)
        return what.kind != "event" and (what.read_shut or what.peer_gone)

    def would_block(self, what: Open) -> bool:
        if what.kind == "event":
            return what.count == 0
        return not what.queue.pieces and not what.error and not self.at_end(what)  # type: ignore

    def read(self, what: Open, n: int) -> bytes:
        """Of a queue or counter."""
        if self.would_block(what):
            raise Error(errno.EAGAIN)
        if what.kind == "event":
            got = 1 if what.semaphore else what.count
            what.count -= got
            return got.to_bytes(8, "little")
        assert what.queue
        if what.queue.messages:
            self.tell_error(what)
        if what.queue.pieces:
            return what.queue.take(n)
        self.tell_error(what)
        return b""

    @staticmethod
    def tell_error(what: Open) -> None:
        """Of a socket: once. Messages wait behind it, bytes before it."""
        if what.error:
            code, what.error = what.error, 0
            raise Error(code)

    def write(self, what: Open, data: bytes) -> int:
        if what.kind == "event":
            what.count += int.from_bytes(data, "little")
            return len(data)
        if what.kind == "pipe":
            if not self.ends_of(what, False):
                raise Error(errno.EPIPE)
            assert what.queue
            what.queue.pieces.append(data)
            return len(data)
        assert what.peer and what.peer.queue
        if what.peer.queue.messages:
            self.tell_error(what)
        if what.peer_gone or what.write_shut:
            raise Error(errno.EPIPE)
        what.peer.queue.pieces.append(data)
        return len(data)

    def lock(self, what: Open, how: int) -> None:
        """flock(2): a conversion that fails loses what was held."""
        if what.lock == how:
            return
        what.lock = 0
        for other in self.opens():
            if other is not what and other.inode is what.inode and other.lock and \
                    2 in (other.lock, how):
                raise Error(errno.EAGAIN)
        what.lock = how

    def lock_posix(self, p: Process, what: Open, how: int) -> None:
        """fcntl(F_SETLK): as for lock(), but they are the process's."""
        if not (what.readable if how == fcntl.LOCK_SH else how == 0 or what.writable):
            raise Error(errno.EBADF)
        for other in self.processes.values():
            if how and other is not p and any(inode is what.inode and fcntl.LOCK_EX in (held, how)
                                              for inode, held in other.locks):
                raise Error(errno.EAGAIN)
        p.closed(what)
        if how:
            p.locks.append((what.inode, how))   # type: ignore[arg-type]

    # processes

    def fork(self, parent: Process, slot: int, pid: int) -> Process:
        child = Process(slot, pid, parent.pid, parent.group, parent.session, parent.cwd,
                        parent.umask, parent.nice, parent.name, parent.core,
                        {n: Handle(h.what, h.cloexec) for n, h in parent.fds.items()},
                        actions=dict(parent.actions), blocked=set(parent.blocked),
                        handled=parent.handled, sum=parent.sum)
        for i, m in parent.areas.items():
            child.areas[i] = Memory(m.data if m.shared else bytearray(m.data), m.shared, m.inode,
                                    m.offset, m.pages, set(m.read_only), m.changes,
                                    set(m.written))
        self.processes[slot] = child
        return child

    def execute(self, p: Process) -> None:
        """A program anew: what outlives that."""
        gone = [h.what for h in p.fds.values() if h.cloexec]
        p.fds = {n: h for n, h in p.fds.items() if not h.cloexec}
        for what in gone:
            p.closed(what)
        self.dropped(gone)
        p.areas, p.threads, p.name, p.handled, p.sum = {}, {}, "actor", 0, 0
        p.actions = {n: how for n, how in p.actions.items() if how == 1}

    def end(self, process: Process, status: int) -> None:
        process.status = status
        del self.processes[process.slot]
        gone = {id(h.what): h.what for h in process.fds.values()}
        process.fds, process.areas, process.threads, process.locks = {}, {}, {}, []
        self.dropped(list(gone.values()))
        self.zombies = [z for z in self.zombies if z.ppid != process.pid]
        for other in self.processes.values():
            if other.ppid == process.pid:
                other.ppid = 1
        if process.ppid != 1:
            self.zombies.append(process)

    def send(self, to: Process, number: int, value: int) -> None:
        if to.actions.get(number) == 1 and number not in to.blocked:
            return
        if number >= SIGNAL_RT or all(s[0] != number for s in to.pending):
            to.pending.append((number, value))
        to.deliver()


def told(data: bytes) -> str:
    """Bytes as an actor tells them."""
    return f"{len(data)}:{zlib.crc32(data):08x}:{data[:16].hex()}"

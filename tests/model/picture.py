"""A World as the actors tell it, word by word, so that the two can be compared."""

from __future__ import annotations

import stat
import zlib

from world import Inode, Open, Process, World

TYPES = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO}


class Difference(Exception):
    """The sandbox is not as the model says."""


def tree(inode: Inode, path: str) -> list[tuple[str, Inode]]:
    """Each name with the word that is told of it; the time is left as `@`."""
    words = [path, f"{inode.mode | TYPES[inode.kind]:o}",
             str(0 if inode.kind == "d" else inode.links), "@"]
    what = ""
    if inode.kind == "f":
        what = f"{len(inode.data)}:{zlib.crc32(inode.data):08x}"
    elif inode.kind == "l":
        what = inode.target
    what += "".join(f",{name}={value}" for name, value in sorted(inode.attributes.items()))
    found = [(";".join([*words, what]), inode)]
    for name in sorted(inode.entries):
        found += tree(inode.entries[name], f"{path}/{name}")
    return found


def check_tree(top: Inode, path: str, told: str) -> None:
    """Compare with what `tree` told; times that were not known are from now on."""
    want = tree(top, path)
    have = told.split()
    for (word, inode), line in zip(want, have):
        parts = line.split(";")
        time, parts[3] = parts[3], "@"
        if ";".join(parts) != word:
            raise Difference(f"file: have {line}, want {word}")
        if inode.mtime is None:
            inode.mtime = time
        elif inode.mtime != time:
            raise Difference(f"time of {parts[0]}: have {time}, want {inode.mtime}")
    if len(want) != len(have):
        more = [word for word, _ in want[len(have):]] or have[len(want):]
        raise Difference(f"{len(have)} files, want {len(want)}: {more[0]}")


def descriptor(what: Open) -> tuple[int, str]:
    """Type and what else is told of a description."""
    if what.kind == "file":
        assert what.inode
        return stat.S_IFREG, f"{what.pos},{what.inode.mode:o},{len(what.inode.data)}"
    if what.kind == "event":
        return 0, str(what.count)
    return (stat.S_IFIFO if what.kind == "pipe" else stat.S_IFSOCK), ""


def bits(numbers: set[int]) -> str:
    return f"{sum(1 << (n - 1) for n in numbers):x}"


def state(world: World, p: Process) -> list[str]:
    """The words of `state`."""
    words = [f"pid:{p.pid}", f"ppid:{p.ppid}", f"group:{p.group}", f"session:{p.session}",
             f"umask:{p.umask:o}", f"nice:{p.nice}", f"name:{p.name}",
             f"cwd:{world.path_of(p.cwd)}", f"mask:{bits(p.blocked)}",
             f"pending:{bits({s[0] for s in p.pending})}", f"handled:{p.handled}:{p.sum:016x}",
             f"core:{p.core}"]
    for n, handle in sorted(p.fds.items()):
        kind, extra = descriptor(handle.what)
        words.append(f"f{n}:{kind:o}:{int(handle.cloexec)}:{handle.what.flags:o}:{extra}")
    for i, memory in sorted(p.areas.items()):
        pages = [memory.page(n) for n in range(memory.pages)]
        words.append(":".join([f"a{i}", *("*" if page is None else f"{zlib.crc32(page):08x}"
                                          for page in pages)]))
    for i, thread in sorted(p.threads.items()):
        words.append(f"t{i}:{thread.tid}:{'reads' if thread.reads else thread.total}")
    return words


def same_area(have: str, want: str) -> bool:
    """But for pages that are not known."""
    a, b = have.split(":"), want.split(":")
    return have[0] == "a" and len(a) == len(b) and all(y in (x, "*") for x, y in zip(a, b))


def check_state(world: World, p: Process, told: str) -> None:
    want, have = state(world, p), told.split()
    for a, b in zip(have, want):
        if a != b and not same_area(a, b):
            raise Difference(f"process {p.slot}: have {a}, want {b}")
    if len(have) != len(want):
        raise Difference(f"process {p.slot}: have {have[len(want):]}, want {want[len(have):]}")

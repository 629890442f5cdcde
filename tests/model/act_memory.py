"""Mappings, and words in them."""

from __future__ import annotations

import mmap
import random

from acting import Act, act, any_bytes, AREAS, chosen_fd
from world import PAGE, Memory, Process, World, told


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

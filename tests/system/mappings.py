"""Private mappings of files that are written to in place."""

from __future__ import annotations

from keeper import Refused
from box import Box
from ground import Ground, check, equal, test

# maps /w/x, once more when /w/two is there, and says at the end what both show
MAPS_TWICE = """
import mmap, os, sys, time
def shows():
    with open("/w/x", "rb") as file:
        return mmap.mmap(file.fileno(), 8192, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)
first = shows()
print("ready", flush=True)
wait("/dev/shm/two")
kept = sys.argv[1] == "keep"
if not kept:
    first.close()
second = shows()
print("second", flush=True)
wait("/dev/shm/end")
print("shows", first[0:3] if kept else "", second[0:3], flush=True)
"""


def map_twice(g: Ground, how: str, change: str) -> tuple[Box, str]:
    """A program that mapped /w/x before and after a change in place."""
    box = g.create()
    box.shell("head -c 8192 /dev/zero | tr '\\0' o > /w/x")
    box.checkpoint()
    handle = box.start("/usr/bin/python3", "-c", MAPS_TWICE, how)
    box.await_output(handle, "ready\n")
    box.checkpoint()
    box.shell(change)
    box.shell("touch /dev/shm/two")
    box.await_output(handle, "second\n")
    return box, handle


def shown(box: Box, handle: str) -> str:
    box.shell("touch /dev/shm/end")
    box.wait(handle)
    return box.output(handle).splitlines()[-1]


WRITE = "printf new | dd of=/w/x conv=notrunc status=none"


@test
def mapping_made_after_a_write_shows_it_after_a_rollback(g: Ground) -> None:
    box, handle = map_twice(g, "close", WRITE)
    first, later = box.checkpoint(), box.checkpoint()
    live = shown(box, handle)
    equal(live, "shows  b'new'")
    for checkpoint in (first, later):
        box.rollback(checkpoint)
        equal(shown(box, handle), live)


@test
def mapping_of_a_file_whose_mode_was_changed_is_saved(g: Ground) -> None:
    box, handle = map_twice(g, "keep", "chmod 0600 /w/x")
    first, later = box.checkpoint(), box.checkpoint()
    for checkpoint in (first, later):
        box.rollback(checkpoint)
        equal(shown(box, handle), "shows b'ooo' b'ooo'")


@test
def mapping_that_shows_a_file_of_the_past_is_refused(g: Ground) -> None:
    box, handle = map_twice(g, "keep", WRITE)
    try:
        box.checkpoint()
    except Refused as refusal:
        check("from before the file was written to" in str(refusal), str(refusal))
        check(bool(refusal.error.get("remedy")), f"no remedy in {refusal.error}")
    else:
        check(False, "was not refused")
    equal(shown(box, handle), "shows b'ooo' b'new'")
    box.checkpoint()

"""What is open while its name goes away."""

from __future__ import annotations

import os

from box import Box
from ground import Ground, equal, refused, test


def holder(box: Box, opening: str, then: str, verdict: str) -> str:
    """A shell that opens something as 3, does something, and waits for its
    end: `verdict`, when /w/go is there."""
    handle = box.start("/bin/bash", "-c", f"exec 3{opening}; {then}; echo up; "
                       f"while ! [ -e /w/go ]; do sleep 0.01; done; {verdict}")
    box.await_output(handle, "up\n")
    return handle


def check_verdict(g: Ground, box: Box, handle: str, want: str) -> None:
    """After plain checkpoints, a rollback and in a fork."""
    box.checkpoint()
    box.shell("echo more > /w/more")
    checkpoint = box.checkpoint()
    twin = g.fork(box, checkpoint, 1)[0]
    for now in (box, twin):
        now.shell("touch /w/go")
        equal((now.wait(handle)["exit_code"], now.output(handle)), (0, f"up\n{want}\n"))
    box.rollback(checkpoint)
    box.checkpoint()
    box.shell("touch /w/go")
    equal((box.wait(handle)["exit_code"], box.output(handle)), (0, f"up\n{want}\n"))
    box.shell("rm -f /w/go")


@test
def file_of_an_older_layer_stays_open_when_its_name_goes(g: Ground) -> None:
    """Overlayfs goes on to tell the lower file's number of links."""
    box = g.create()
    for then in ("rm /w/f", "mv /w/g /w/f", "rm /w/f; echo other > /w/f",
                              "rm /w/f; echo other > '/w/f (deleted)'"):
        box.shell("echo old > /w/f; echo new > /w/g")
        box.checkpoint()
        handle = holder(box, "</w/f", then, "cat <&3")
        check_verdict(g, box, handle, "old")
        box.shell("rm -f /w/f* /w/g")


@test
def file_stays_open_by_another_name(g: Ground) -> None:
    box = g.create()
    for older in (False, True):
        box.shell("mkdir -p /w/d; echo old > /w/f; ln -f /w/f /w/d/other")
        if older:
            box.checkpoint()
        handle = holder(box, "<>/w/f", "rm /w/f", "echo new >&3; cat /w/d/other")
        check_verdict(g, box, handle, "new")


@test
def file_of_a_base_whose_other_name_cannot_be_found_is_refused(g: Ground) -> None:
    base = g.top / "base"
    base.mkdir()
    (base / "f").write_text("old\n")
    os.link(base / "f", base / "other")
    box = g.create("one", "--volume", f"{base}:/v:cow")
    handle = holder(box, "</v/f", "rm /v/f", "cat <&3")
    refused(box.checkpoint, "its name was removed", "/v/f")
    box.shell("touch /w/go")
    equal((box.wait(handle)["exit_code"], box.output(handle)), (0, "up\nold\n"))


@test
def fifo_without_a_name_keeps_its_queue(g: Ground) -> None:
    box = g.create()
    for older in (False, True):
        box.shell("mkfifo /w/f")
        if older:
            box.checkpoint()
        handle = holder(box, "<>/w/f", "echo queued >&3; rm /w/f", "read line <&3; echo $line")
        check_verdict(g, box, handle, "queued")

"""What goes on while a child of the keeper writes checkpoints to the disk: all
of it, and every end of the child leaves checkpoints that are whole or none.

MULLIGAN_STOP_AT stops the child in the middle, for as long as a test likes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from box import Box, Failed
from faults import adopt_orphans, descendants
from ground import Ground, check, equal, test
from keeper import SLOW, Keeper, keeper_pid
from lost import committed, kill_keeper


def committers(keeper: int) -> list[tuple[int, str]]:
    """The children of a keeper that commit, with their states."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                comm, rest = Path(f"/proc/{child}/stat").read_text().split(") ")
                if comm.endswith("(mulligan-commit"):
                    found.append((int(child), rest[0]))
    return found


def stopped(keeper: int, besides: int = 0) -> int:
    """Wait until a commit of that keeper stands still; who it is."""
    end = time.monotonic() + 20 * SLOW
    while time.monotonic() < end:
        for pid, state in committers(keeper):
            if state == "T" and pid != besides:
                return pid
        time.sleep(0.005)
    raise Failed(f"no commit stands still: {committers(keeper)}")


def let_go_until_on_disk(g: Ground, keepers: list[int], *checkpoints: str) -> int:
    """Let commits go on as often as they stop; how many of them did."""
    end = time.monotonic() + 20 * SLOW
    seen = set()
    while missing := set(checkpoints) - set(g.manifests()):
        check(time.monotonic() < end, f"not on disk: {missing}")
        for keeper in keepers:
            for pid, state in committers(keeper):
                if state == "T":
                    seen.add(pid)
                    os.kill(pid, signal.SIGCONT)
        time.sleep(0.005)
    return len(seen)


def standing_still(g: Ground, stage: str) -> tuple[Box, str, int]:
    """A sandbox, its checkpoint whose commit stands still after that stage, and
    the child."""
    box = g.create("one", env={"MULLIGAN_STOP_AT": stage})
    box.shell("mkdir -p /w; echo first > /w/file")
    first = box.checkpoint()
    return box, first, stopped(keeper_pid("one"))


@test
def requests_are_served_while_a_checkpoint_is_committed(g: Ground) -> None:
    for stage in ("sum", "sync"):
        box, first, child = standing_still(g, stage)
        keepers = [keeper_pid("one")]
        equal(g.tool.json("inspect", "one")["info"]["state"], "running")
        equal(box.text("cat /w/file"), "first")
        box.shell("echo second > /w/file")
        second = box.checkpoint()
        equal(box.rollback(first)["id"], first)
        equal(box.text("cat /w/file"), "first")
        twin = g.fork(box, second, 1)[0]
        keepers.append(keeper_pid(twin.name))
        equal(twin.text("cat /w/file"), "second")
        third = twin.checkpoint()
        equal(committers(keepers[0]), [(child, "T")], stage)
        equal(g.manifests(), {}, stage)
        let_go_until_on_disk(g, keepers, first, second, third)
        for one in (twin, box):
            one.remove()
        g.boxes.clear()
        g.forget()


@test
def checkpoints_that_wait_are_committed_together(g: Ground) -> None:
    box, first, child = standing_still(g, "sum")
    ids = []
    for i in range(20):
        box.shell(f"echo {i} > /w/file")
        ids.append(box.checkpoint())
    keeper = keeper_pid("one")
    os.kill(child, signal.SIGCONT)
    committed(g, first)
    equal(let_go_until_on_disk(g, [keeper], *ids), 1, "commits of 20 checkpoints")
    kill_keeper(g, box)
    equal(set(g.collect()), {first, *ids})
    check("21 whole" in g.tool.run("doctor").stdout, "not all are whole")
    g.forget()


@test
def deleted_checkpoint_does_not_come_back(g: Ground) -> None:
    """Deleted while it is being committed: that waits, and nobody else does."""
    box, first, child = standing_still(g, "sync")
    box.shell("echo second > /w/file")
    second = box.checkpoint()
    with Keeper("one") as gives_up:     # goes before the answer comes
        gives_up.send("delete_checkpoint", checkpoint=first)
        equal(gives_up.call("info")["state"], "running")
    with Keeper("one") as client:
        number = client.send("delete_checkpoint", checkpoint=first)
        equal(client.call("info")["state"], "running")
        equal(box.text("cat /w/file"), "second")
        check(Path(f"/proc/{child}").exists(), "the commit was not waited for")
        os.kill(child, signal.SIGCONT)
        equal(client.answer(number, "delete_checkpoint"), {"id": first})
    let_go_until_on_disk(g, [keeper_pid("one")], second)
    check(first not in g.manifests(), "it came back")
    equal([n["id"] for n in g.tool.json("tree", "one")["nodes"]][1:], [second])
    equal(g.tool.run("gc").returncode, 0)
    kill_keeper(g, box)
    equal(set(g.collect()), {second})
    g.forget()


@test
def killed_commit_is_tried_again(g: Ground) -> None:
    for stage in ("sum", "sync", "manifest"):
        box, first, child = standing_still(g, stage)
        keeper = keeper_pid("one")
        os.kill(child, signal.SIGKILL)
        stopped(keeper, child)
        log = (Path(g.env["MULLIGAN_RUNTIME"]) / "one" / "log").read_text()
        check("what=commit" in log and "ended early" in log, log)
        let_go_until_on_disk(g, [keeper], first)
        kill_keeper(g, box)
        equal(set(g.collect()), {first})
        check("1 whole" in g.tool.run("doctor").stdout, stage)
        g.forget()


@test
def end_of_a_keeper_ends_its_commit(g: Ground) -> None:
    adopt_orphans()
    for stage in ("sum", "sync", "manifest"):
        # removed
        box, first, _ = standing_still(g, stage)
        equal(g.tool.run("rm", "one").returncode, 0)
        g.boxes.clear()
        g.gone(descendants)
        equal((g.manifests(), g.layers()), ({}, set()), stage)
        # killed
        box, first, _ = standing_still(g, stage)
        kill_keeper(g, box)
        g.gone(descendants)
        equal(set(g.collect()), {first} if stage == "manifest" else set(), stage)
        g.forget()
        # terminated: what it has goes to disk first, in the keeper itself
        box, first, child = standing_still(g, stage)
        keeper = keeper_pid("one")
        os.kill(keeper, signal.SIGTERM)
        box.keeper.close()
        g.boxes.clear()
        end = time.monotonic() + 20 * SLOW
        while Path(f"/proc/{keeper}/exe").exists() and time.monotonic() < end:
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGCONT)
            time.sleep(0.005)
        g.gone(descendants)
        equal(set(g.collect()), {first}, stage)
        check("1 whole" in g.tool.run("doctor").stdout, stage)
        g.forget()


@test
def tree_says_what_each_checkpoint_takes(g: Ground) -> None:
    """Layers that only it has, and those that others have, too; before they are
    on the disk and after."""
    box, first, _ = standing_still(g, "sync")
    box.shell("head -c 1000000 /dev/urandom > /w/one")
    second = box.checkpoint()
    box.shell("head -c 2000000 /dev/urandom > /w/two")
    third = box.checkpoint()

    def megabytes() -> list[tuple[int, int]]:
        nodes = {n["id"]: n for n in g.tool.json("tree", "one")["nodes"]}
        return [(nodes[c]["bytes_private"] // 900000, nodes[c]["bytes_shared"] // 900000)
                for c in (first, second, third)]

    # a file system may take more for what is not written yet
    equal([(a > 0, b > 0) for a, b in megabytes()], [(False, False), (False, True), (True, True)])
    let_go_until_on_disk(g, [keeper_pid("one")], first, second, third)
    for _ in range(2):
        equal(megabytes(), [(0, 0), (0, 1), (2, 1)], "on the disk")

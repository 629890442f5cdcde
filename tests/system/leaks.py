"""Nothing is left behind, and nothing half-changes when a kernel call fails."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Callable

from ground import Ground, check, equal, test
from keeper import Tool


def keeper_fds(g: Ground, name: str = "one") -> int:
    """How many the keeper has once its work in the background is done."""
    pid = g.tool.json("inspect", name)["info"]["keeper_pid"]
    seen: list[int] = []
    deadline = time.monotonic() + 10
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        check(time.monotonic() < deadline, f"the keeper never comes to rest: {seen[-10:]}")
        time.sleep(0.05)
        seen.append(len(os.listdir(f"/proc/{pid}/fd")))
    return seen[-1]


@test
def twenty_sandboxes_leave_nothing(g: Ground) -> None:
    for i in range(20):
        g.tool.json("create", f"box{i}")
        equal(g.tool.run("rm", f"box{i}").returncode, 0)
    g.gone(g.processes)
    g.gone(g.runtime_names)
    g.tool.run("gc")
    left = [str(p) for p in Path(g.env["MULLIGAN_STATE"]).rglob("fs")]
    equal(left, [], "layers")


@test
def rollbacks_do_not_grow_the_keeper(g: Ground) -> None:
    box = g.create()
    box.start("/bin/sleep", "1000")
    checkpoint = box.checkpoint()
    def wreck_and_return() -> None:
        box.shell("echo x >> /w/f; kill -9 -1", check=False)
        box.rollback(checkpoint)

    # until as many overlays are kept for use again as ever will be
    for _ in range(10):
        wreck_and_return()
    before = keeper_fds(g)
    for _ in range(30):
        wreck_and_return()
    after = keeper_fds(g)
    check(after <= before + 2, f"descriptors of the keeper: {before}, then {after}")


@test
def forks_and_removals_do_not_grow_the_keeper(g: Ground) -> None:
    box = g.create()
    checkpoint = box.checkpoint()
    before = keeper_fds(g)
    for _ in range(10):
        for twin in box.fork(checkpoint, 2):
            twin.remove()
    after = keeper_fds(g)
    check(after <= before + 2, f"descriptors of the keeper: {before}, then {after}")


@test
def checkpoints_outgrow_the_soft_limit_of_open_files(g: Ground) -> None:
    """A keeper holds some for each; commands have the limit of who made it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (170, before[1]))
    try:
        box = g.create()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    first = box.checkpoint()
    for i in range(60):
        box.shell(f"mkdir -p /w; echo {i} > /w/n")
        last = box.checkpoint()
    check(keeper_fds(g) > 170, "the limit was not met")
    for checkpoint in first, last:
        box.rollback(checkpoint)
        equal(box.text("ulimit -Sn; ulimit -Hn"), f"170\n{before[1]}", checkpoint)


@test
def run_removes_its_sandbox(g: Ground) -> None:
    done = g.tool.run("run", "--", "sh", "-c", "echo hi; exit 7")
    equal((done.returncode, done.stdout), (7, "hi\n"), done.stderr)


def first_miss(g: Ground, works: Callable[[int], bool]) -> int:
    """A number of kernel calls so large that no fault of that number is met."""
    n = 64
    while not works(n) and n < 1 << 16:
        n *= 2
    return n


def create(g: Ground, n: int) -> bool:
    """Create with the n-th kernel call failing: it works, or nothing is left."""
    done = Tool(g.build, {**g.env, "MULLIGAN_FAULT": f"{n}:EIO"}).run("create", "swept")
    if done.returncode == 0:
        ran = g.tool.run("exec", "swept", "--", "echo", "alive")
        if ran.returncode == 125:  # this call met the fault
            ran = g.tool.run("exec", "swept", "--", "echo", "alive")
        equal(ran.stdout, "alive\n", f"call {n} failed, create succeeded: {ran.stderr}")
        g.tool.run("rm", "swept")
    else:
        check(done.stderr, f"call {n}: no word of the cause")
    g.gone(g.processes)
    g.gone(g.runtime_names)
    return done.returncode == 0


@test
def create_with_a_failing_kernel_call_is_whole_or_nothing(g: Ground) -> None:
    """Some fifty of the calls; with --all each one."""
    create(g, 1 << 30)      # the base is unpacked once
    last = first_miss(g, lambda n: create(g, n))
    step = 1 if os.environ.get("MULLIGAN_TEST_ALL") else max(1, last // 50)
    failures = sum(not create(g, n) for n in range(1, last, step))
    check(failures > 10, f"only {failures} faults were met: the seam is not there")


def checkpoint(g: Ground, n: int) -> bool:
    """Checkpoint and rollback in a keeper whose n-th kernel call fails: the
    guest goes on, and the next ones work. False: create met the fault."""
    if Tool(g.build, {**g.env, "MULLIGAN_FAULT": f"{n}:EIO"}).run("create", "swept").returncode:
        return False

    def guests(when: str) -> None:
        ran = g.tool.run("exec", "swept", "--", "pgrep", "-c", "sleep")
        if ran.returncode == 125:   # this call was the one
            ran = g.tool.run("exec", "swept", "--", "pgrep", "-c", "sleep")
        equal(ran.stdout, "1\n", f"call {n}: guests {when}")

    def twice(command: str) -> None:
        first = g.tool.run(command, "swept")
        if first.returncode:
            second = g.tool.run(command, "swept")
            equal(second.returncode, 0, f"call {n}: {command} failed with '{first.stderr}' "
                  f"and again with '{second.stderr}'")

    if g.tool.run("exec", "-d", "swept", "--", "sleep", "1000").returncode:
        g.tool.run("exec", "-d", "swept", "--", "sleep", "1000")
    twice("checkpoint")
    guests("after the checkpoint")
    twice("checkpoint")
    twice("rollback")
    guests("after the rollback")
    equal(g.tool.run("rm", "swept").returncode, 0, f"call {n}: rm")
    g.gone(g.processes)
    return True


@test
def checkpoint_with_a_failing_kernel_call_changes_nothing(g: Ground) -> None:
    """Calls after create: some fifty; with --all each one."""
    create(g, 1 << 30)
    last = first_miss(g, lambda n: create(g, n))
    step = 1 if os.environ.get("MULLIGAN_TEST_ALL") else 40
    reached = sum(checkpoint(g, n) for n in range(last // 2, last + 40 * step, step))
    check(reached > 20, f"only {reached} sandboxes were created")

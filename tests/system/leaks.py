"""Nothing is left behind, and nothing half-changes when a kernel call fails."""

from __future__ import annotations

import os
from pathlib import Path

from keeper import Refused, Tool
from ground import Ground, Skip, check, equal, test


def keeper_fds(g: Ground, name: str = "one") -> int:
    pid = g.tool.json("inspect", name)["info"]["keeper_pid"]
    return len(os.listdir(f"/proc/{pid}/fd"))


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
    for _ in range(5):
        box.rollback(checkpoint)
    before = keeper_fds(g)
    for _ in range(30):
        box.shell("echo x >> /w/f; kill -9 -1", check=False)
        box.rollback(checkpoint)
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
def run_removes_its_sandbox(g: Ground) -> None:
    done = g.tool.run("run", "--", "sh", "-c", "echo hi; exit 7")
    equal((done.returncode, done.stdout), (7, "hi\n"), done.stderr)


def sweep_create(g: Ground, n: int) -> bool:
    """Create with the n-th kernel call failing; whether the fault was met."""
    tool = Tool(g.build, {**g.env, "MULLIGAN_FAULT": f"{n}:EIO"})
    done = tool.run("create", "swept")
    if done.returncode == 0:
        plain = Tool(g.build, g.env)
        ran = plain.run("exec", "swept", "--", "echo", "alive")
        equal(ran.stdout, "alive\n", f"call {n} failed, create succeeded: {ran.stderr}")
        plain.run("rm", "swept")
    else:
        check(done.stderr, f"call {n}: no word of the cause")
    g.gone(g.processes)
    g.gone(g.runtime_names)
    return done.returncode != 0


@test
def create_with_a_failing_kernel_call_is_whole_or_nothing(g: Ground) -> None:
    """Each of the first calls, then every seventh: the whole sweep is --all."""
    step = 1 if os.environ.get("MULLIGAN_TEST_ALL") else 7
    misses = 0
    n = 1
    while misses < 40 // step + 3 and n < 5000:
        misses = 0 if sweep_create(g, n) else misses + 1
        n += step
    check(n > 20, "no kernel call of create can fail: the fault seam is not there")


@test
def checkpoint_with_a_failing_kernel_call_changes_nothing(g: Ground) -> None:
    """A keeper whose n-th kernel call after its birth fails, n beyond create."""
    step = 5 if os.environ.get("MULLIGAN_TEST_ALL") else 41
    tried = failed = 0
    for n in range(50, 2500, step):
        tool = Tool(g.build, {**g.env, "MULLIGAN_FAULT": f"{n}:EIO"})
        if tool.run("create", "swept").returncode:
            continue
        tried += 1
        plain = Tool(g.build, g.env)
        plain.run("exec", "-d", "swept", "--", "sleep", "1000")
        first = plain.run("checkpoint", "swept")
        if first.returncode:
            failed += 1
            try:
                plain.json("checkpoint", "swept")
            except Refused as refusal:
                raise AssertionError(f"after call {n} failed ({first.stderr.strip()}) the next "
                                     f"checkpoint fails: {refusal.error}") from None
        ran = plain.run("exec", "swept", "--", "pgrep", "-c", "sleep")
        equal(ran.stdout, "1\n", f"call {n}: the guest")
        again = plain.run("rollback", "swept")
        if again.returncode:    # the fault may have been this call's
            equal(plain.run("rollback", "swept").returncode, 0, f"call {n}: {again.stderr}")
        ran = plain.run("exec", "swept", "--", "pgrep", "-c", "sleep")
        equal(ran.stdout, "1\n", f"call {n}: the guest after rollback")
        plain.run("rm", "swept")
        g.gone(g.processes)
    if not tried:
        raise Skip("every create failed: more than 2500 calls")

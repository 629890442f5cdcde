"""Failing kernel calls and killed keepers, through the whole of a request.

tests/unit/test_engine_faults.c sweeps the engine alone, and finely; here is what
the keeper adds: handles, the fork of a keeper, its end at any moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Callable

from box import Box, Failed
from ground import Ground, check, equal, test
from keeper import Refused, Tool

PR_SET_CHILD_SUBREAPER = 36

# Counts, and finds its file by descriptor and by name.
GUEST = """i=0; exec 3<> /w/log; while :; do i=$((i+1)); echo $i >&3
[ "$(tail -n 1 /w/log)" = $i ] || { echo $i > /w/failed; exit 3; }; sleep 0.01; done"""

BUILD_STAGES = ["files", "mounts", "program", "group", "spawn", "attach", "open", "track", "park"]
STAGES = {
    "create": ["namespaces", "store", "base", "engine", "first", *BUILD_STAGES, "build", "start"],
    "checkpoint": ["prepare", "template", "freeze", "look", "handles", "plan", "copy", "choose",
                   "carry", "attributes", "snapshot", "swap", "cut", "reopen", "visit", "move",
                   "arm", "settle", "thaw"],
    "rollback": BUILD_STAGES,
    "fork": ["copy", "cut", "settle", *BUILD_STAGES],
}


def every() -> bool:
    """Whether each number is tried, not a sample of them."""
    return bool(os.environ.get("MULLIGAN_TEST_ALL"))


def adopt_orphans() -> None:
    """What a killed keeper leaves becomes a child of this process."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int = 0) -> list[str]:
    """Living ones; those that have ended are reaped."""
    found = []
    try:
        children = Path(f"/proc/{pid or 'self'}/task/{pid or os.getpid()}/children").read_text()
    except OSError:
        return []
    for child in map(int, children.split()):
        try:
            comm, state = Path(f"/proc/{child}/stat").read_text().split(") ")
        except OSError:
            continue
        if state[0] == "Z":
            if not pid:
                os.waitpid(child, os.WNOHANG)
        else:
            found.append(f"{child} {comm.split('(')[-1]}")
        found += descendants(child)
    return found


def layers(g: Ground) -> list[str]:
    return [str(p) for p in Path(g.env["MULLIGAN_STATE"]).glob("layers/*")]


def start_guest(box: Box) -> None:
    box.keeper.call("exec", argv=["/bin/sh", "-c", GUEST], background=True)
    box.shell("for i in $(seq 300); do [ -s /w/log ] && exit 0; sleep 0.01; done; exit 1")


def check_guest(tool: Tool, name: str, when: str) -> None:
    """It goes on, and has missed nothing."""
    script = ("[ ! -e /w/failed ] && n=$(tail -n 1 /w/log) && seq $n | cmp -n $(seq $n | wc -c) "
              "- /w/log && for t in $(seq 100); do sleep 0.05; "
              "[ $(tail -n 1 /w/log) -gt $n ] && exit 0; done; exit 1")
    done = tool.run("exec", name, "--", "/bin/sh", "-c", script)
    if done.returncode == 125:  # this call met the fault
        done = tool.run("exec", name, "--", "/bin/sh", "-c", script)
    equal(done.returncode, 0, f"{when}: guest: {done.stdout} {done.stderr}")


def faulty(g: Ground, method: str, **settings: str) -> dict[str, str]:
    return {**{k: v for k, v in settings.items() if v}, "MULLIGAN_FAULT_WHEN": method,
            "MULLIGAN_NO_STANDBY": "1"}


def request(g: Ground, method: str, fails: bool, when: str) -> int:
    """Make it; one that failed is made again and works. The tool's status."""
    args = ["one", "-n", "2"] if method == "fork" else ["one"]
    # the keepers of forks go on counting, each by itself, as theirs does
    keepers = 3 if method == "fork" else 1
    done = again = g.tool.run(method, *args)
    for _ in range(keepers if fails else 0):
        if again.returncode:
            check(again.stderr, f"{when}: no word of the cause")
            again = g.tool.run(method, *args)
    if fails:
        equal(again.returncode, 0, f"{when}: failed with '{done.stderr}', and at last with "
              f"'{again.stderr}'")
    return done.returncode


def state_of_one(g: Ground) -> str:
    try:
        inspected = g.tool.json("inspect", "one")
    except Refused:     # this call met the fault
        inspected = g.tool.json("inspect", "one")
    return str(inspected["info"]["state"])


def one_fault(g: Ground, n: int, method: str, puppets: bool) -> bool:
    """The n-th call of a request fails. Did the request?"""
    variable = "MULLIGAN_FAULT_PUPPET" if puppets else "MULLIGAN_FAULT"
    when = f"{method}, {'puppet ' if puppets else ''}call {n}"
    box = g.create(env=faulty(g, method, **{variable: str(n)}))
    start_guest(box)
    box.keeper.call("checkpoint") if method != "checkpoint" else None
    failed = request(g, method, True, when) != 0
    check_guest(g.tool, "one", when)
    want = 3 if method == "fork" else 1
    g.gone(lambda: g.runtime_names()[want:])
    names = sorted(g.runtime_names())
    equal(len(names), want, f"{when}: sandboxes {names}")
    for name in names[1:]:
        check_guest(g.tool, name, f"{when}: {name}")
    equal(state_of_one(g), "running", when)
    box.keeper.close()
    equal(g.tool.run("rm", "--all").returncode, 0, f"{when}: rm")
    g.boxes.clear()
    g.gone(descendants)
    equal(layers(g), [], f"{when}: layers")
    return failed


Attempt = Callable[[Ground, int], bool]


def attempts(build: Path, one: Attempt, numbers: list[int]) -> tuple[int, list[str]]:
    """All of them, whatever becomes of those before: how many had an effect,
    and what went wrong."""
    adopt_orphans()
    felt, wrong = 0, []
    ground = Ground(build)
    for n in numbers:
        try:
            felt += one(ground, n)
        except Exception as error:  # pylint: disable=broad-except  (any is told)
            wrong.append(f"{type(error).__name__}: {error}")
            ground.close()
            ground = Ground(build)
    ground.close()
    return felt, wrong


def side_by_side(g: Ground, one: Attempt, last: int, step: int) -> int:
    """Attempts 1 .. last, each step-th, with --all each, in some processes of
    their own: most of an attempt is waiting. How many had an effect."""
    workers = 4 if every() else 2
    numbers = range(1, last, 1 if every() else step)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        parts = [pool.submit(attempts, g.build, one, list(numbers[i::workers]))
                 for i in range(workers)]
        results = [part.result() for part in parts]
    wrong = [words for _, part in results for words in part]
    if wrong:
        raise Failed(f"{len(wrong)} of {len(numbers)}:\n# " + "\n# ".join(wrong))
    return sum(felt for felt, _ in results)


def sweep(g: Ground, method: str, last: int, puppets: bool) -> None:
    one = functools.partial(one_fault, method=method, puppets=puppets)
    failures = side_by_side(g, one, last, max(1, last // 14))
    check(failures >= 5, f"only {failures} faults were met")


@test
def checkpoint_with_a_failing_kernel_call_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "checkpoint", 1000, False)


@test
def checkpoint_with_a_failing_call_of_a_puppet_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "checkpoint", 250, True)


@test
def fork_with_a_failing_kernel_call_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "fork", 700, False)


@test
def fork_with_a_failing_call_of_a_puppet_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "fork", 180, True)


@test
def rollback_with_a_failing_kernel_call_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "rollback", 330, False)


@test
def rollback_with_a_failing_call_of_a_puppet_is_whole_or_nothing(g: Ground) -> None:
    sweep(g, "rollback", 150, True)


def one_init_fault(g: Ground, n: int) -> bool:
    """The n-th call of every mulligan-init fails. Did something?"""
    when = f"init, call {n}"
    done = Tool(g.build, {**g.env, "MULLIGAN_FAULT_INIT": str(n)}).run("create", "one")
    if done.returncode:
        check(done.stderr, f"{when}: no word of the cause")
        g.gone(g.runtime_names)
        g.gone(descendants)
        return True
    failed = 0
    for _ in range(4):
        ran = g.tool.run("exec", "one", "--", "/bin/sh", "-c", "mkdir -p /w; echo hi; exit 5")
        failed += (ran.returncode, ran.stdout) != (5, "hi\n")
    check(failed <= 1, f"{when}: {failed} commands failed")
    box = Box(g.tool, "one")
    try:
        start_guest(box)
    except (Refused, Failed):
        failed += 1
        # which of its two commands it was
        if g.tool.run("exec", "one", "--", "test", "-s", "/w/log").returncode:
            start_guest(box)
    box.keeper.close()
    for request_ in ["checkpoint", "rollback"]:
        request(g, request_, True, when)
        check_guest(g.tool, "one", f"{when}, {request_}")
    equal(g.tool.run("rm", "one").returncode, 0, f"{when}: rm")
    g.gone(descendants)
    return failed > 0


@test
def init_with_a_failing_call_lives_on(g: Ground) -> None:
    failures = side_by_side(g, one_init_fault, 300, 9)
    check(failures > 3, f"only {failures} faults were felt")


def kill_at(g: Ground, method: str, stage: str) -> None:
    """The keeper is killed when a stage has ended: nothing lives on."""
    when = f"killed after {stage} of {method}"
    env = faulty(g, method, MULLIGAN_KILL_AT=stage)
    if method == "create":
        done = Tool(g.build, {**g.env, **env}).run("create", "one")
        check(done.returncode, f"{when}: create succeeded")
    else:
        box = g.create(env=env)
        start_guest(box)
        if method != "checkpoint":
            box.keeper.call("checkpoint")
        box.keeper.close()
        g.boxes.clear()
        status = request(g, method, False, when)
        check(status, f"{when}: it succeeded")
    if method == "fork" and stage in BUILD_STAGES:  # a fork's keeper, not the first
        check_guest(g.tool, "one", when)
        g.tool.run("rm", "--all")
    try:
        g.gone(descendants)
    except Failed as failure:
        raise Failed(f"{when}: {failure}") from None
    g.collect()
    equal(g.runtime_names(), [], f"{when}: names")
    g.forget()


@test
def keeper_killed_at_a_stage_leaves_nothing(g: Ground) -> None:
    """Some stages of each method; with --all each."""
    adopt_orphans()
    some = {"first", "spawn", "freeze", "swap", "visit", "move", "track", "park"}
    for method, stages in STAGES.items():
        for stage in stages:
            if every() or stage in some:
                kill_at(g, method, stage)


@test
def forks_survive_the_killed_keeper_exactly(g: Ground) -> None:
    """What a fork shares with a keeper that dies in the middle is whole."""
    adopt_orphans()
    for stage in ["copy", "swap", "move"]:
        box = g.create(env=faulty(g, "checkpoint", MULLIGAN_KILL_AT=stage))
        start_guest(box)
        g.tool.json("fork", "one", "-n", "2")
        box.keeper.close()
        g.boxes.clear()
        check(g.tool.run("checkpoint", "one").returncode, f"{stage}: it was not killed")
        g.tool.run("gc")
        for name in ["one-1", "one-2"]:
            check_guest(g.tool, name, f"fork of one killed after {stage}")
            g.tool.json("rollback", name)
            check_guest(g.tool, name, f"rollback in a fork of one killed after {stage}")
        equal(sorted(g.runtime_names()), ["one-1", "one-2"], stage)
        equal(g.tool.run("rm", "--all").returncode, 0, "rm")
        g.gone(descendants)
        equal(layers(g), [], f"{stage}: layers")


@test
def killed_template_loses_its_checkpoint_alone(g: Ground) -> None:
    box = g.create()
    start_guest(box)
    lost = box.checkpoint()
    kept = box.checkpoint()
    templates = g.tool.json("inspect", "one")
    check(templates, "inspect")
    pids = template_pids(int(templates["info"]["keeper_pid"]))
    for pid in pids[1:2]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
    for checkpoint in [lost, kept]:
        done = g.tool.run("rollback", "one", checkpoint)
        if done.returncode:
            check("processes lost, files available" in done.stderr, done.stderr)
        check_guest(g.tool, "one", f"rollback to {checkpoint}")
    box.checkpoint()
    box.rollback()
    check_guest(g.tool, "one", "after the next checkpoint")


def template_pids(keeper: int) -> list[int]:
    """Each is a fork of an older one, the first of the keeper. Children that
    the keeper has for a moment only are among them."""
    def said(path: str) -> str:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return Path(path).read_text()
        return ""

    found = []
    todo = [keeper]
    while todo:
        pid = todo.pop(0)
        for child in said(f"/proc/{pid}/task/{pid}/children").split():
            if said(f"/proc/{child}/comm") == "mulligan-keeper\n":
                found.append(int(child))
                todo.append(int(child))
    return sorted(found)

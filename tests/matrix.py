#!/usr/bin/python3
"""Guests times modes: every guest program must verify itself in every mode.

A guest (tests/guests) knows nothing of checkpoints. It runs as a background
command of a sandbox; when it has said "ready" a mode does something to the
sandbox, and at the end, maybe several times, lets the guest go on to its
verdict by making the file /w/go. Prints TAP.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from box import WORK, Box, Failed
from keeper import SLOW, Refused, Tool

HERE = Path(__file__).resolve().parent
GO = f"{WORK}/go"
READY_S = 20        # a guest that is not ready by then never will be
VERDICT_S = 20      # from the go to the end of the guest
PYTHON = "/usr/bin/python3"
# what a wrecked sandbox looks like: the work gone, then every process
WRECK = f"rm -rf {WORK}/* /tmp/* /etc/* 2>/dev/null; kill -9 -1"


@dataclass
class Guest:
    """A row of the table. `refused`: why its state cannot be saved; `root`:
    it needs to be uid 0 over more than one id; `limit`: what it says when a
    rollback or fork changed something that docs/limits.md names. Such a case
    must fail in just that way: one that passes is a failure, too."""

    name: str
    argv: list[str] = field(default_factory=list)
    refused: str = ""
    root: bool = False
    limit: str = ""
    core: bool = False      # in the fast subset, in every mode

    def command(self) -> list[str]:
        program = self.argv[0] if self.argv else self.name
        rest = self.argv[1:]
        if program.endswith(".py"):
            return [PYTHON, f"/scripts/{program}", GO, *rest]
        if program.endswith(".sh"):
            return ["/bin/bash", f"/scripts/{program}", GO, *rest]
        return [f"/guests/{program}", GO, *rest]


def kinds(program: str, names: str, **options: str) -> list[Guest]:
    """One program run with several second arguments."""
    return [Guest(f"{program}-{name}", [program, name], **options) for name in names.split()]


NOT_YET = "this kind of descriptor is not saved yet"

GUESTS = [
    Guest("counter", core=True),
    Guest("mem_private"), Guest("mem_vma"), Guest("mem_brk"), Guest("mem_sparse"),
    Guest("mem_file_private"), Guest("mem_far"), Guest("mem_neighbours", core=True), Guest("mem_part"),
    Guest("mem_dropped"), Guest("mem_shared", core=True),
    Guest("threads", core=True), Guest("thread_robust"), Guest("thread_condvar"),
    Guest("fpu"), Guest("rseq"), Guest("clocks"), Guest("identity"), Guest("prctl_state"),
    Guest("signal_handlers"), Guest("signal_pending"), Guest("child_stopped", core=True),
    Guest("stopped"),
    Guest("itimer_real"), Guest("itimer_virtual"), Guest("posix_timers"),
    Guest("pipe_queue", core=True), Guest("pipe_stream"), Guest("fifo"), Guest("eventfd"),
    Guest("timerfd"), Guest("signalfd"), Guest("pidfd"),
    *kinds("epoll", "level edge oneshot nested numbers shared asleep fifo kinds signal"),
    Guest("inotify"),
    *kinds("sock_named", "abstract path shm"),
    Guest("sock_pair", core=True), Guest("sock_rights"), Guest("sock_signals"), Guest("sock_netlink"),
    *kinds("sock_asleep", "recv recv-timeout recvmsg recv-tcp accept accept-unix "
           "poll-unix epoll-unix"),
    *kinds("sock_asleep", "send", limit="not true: guest_go()"),
    *kinds("sock_tcp", "v4 v6"), *kinds("sock_tcp", "full", root=True), *kinds("sock_udp", "v4 v6"),
    *kinds("sock_empty", "dgram dgram-first dgram-seen udp udp-first seqpacket seqpacket-first-closed"),
    Guest("sock_rights-disk", ["sock_rights", "disk"], refused="a file that may have to move"),
    Guest("file_offsets"), Guest("file_append", core=True), Guest("file_unlinked"),
    Guest("file_map_shared"), Guest("file_locks"), Guest("file_meta"),
    Guest("inode_numbers", core=True),
    Guest("dir_half_read"), Guest("cwd_umask"), Guest("dev_files"),
    Guest("rlimits"), Guest("scheduling"), Guest("membarrier"), Guest("credentials", root=True),
    Guest("sessions"), Guest("zombies"), Guest("tree_deep", core=True), Guest("daemon"),
    Guest("run_programs"), Guest("tty_pair", core=True), Guest("tty_session", core=True),
    *kinds("mem_named", "memfd memfd-closed shm-named shm-named-closed shm shm-closed"),
    *kinds("mem_later", "shm memfd deleted"),
    *kinds("mem_readonly", "memfd memfd-alone memfd-closed deleted shm-alone-closed"),
    *kinds("mem_readonly", "deleted-closed", root=True),
    *kinds("sysv_memory", "shared removed alone"), *kinds("sysv_memory", "given", root=True),
    *kinds("sysv_semaphores", "values asleep asleep-timed"),
    *kinds("sysv_queues", "kept asleep"),
    *kinds("sysv_semaphores", "undo", refused="SEM_UNDO"),
    Guest("mem_grow"), Guest("mem_files"), Guest("python_pool", ["python_pool.py"]),
    *kinds("mem_locked", "ranges all future future-on-fault"),
    *kinds("sleep_left", "nanosleep poll absolute"),
    *kinds("blocked", "read write poll poll-timeout ppoll select pselect futex "
           "futex-timeout pause sigsuspend sigtimedwait wait4 waitid lock epoll"),
    Guest("bash_jobs", ["bash_jobs.sh"], core=True),
    Guest("python_threads", ["python_threads.py"], core=True),
    Guest("sqlite-delete", ["sqlite_writer.py", "delete"]),
    Guest("sqlite-wal", ["sqlite_writer.py", "wal"]),
    Guest("git_tree", ["git_tree.sh"]),
    *kinds("refused", "passcred inotify memfd-huge tcp-waiting unix-waiting",
           refused=NOT_YET),
    Guest("own_seccomp", refused="its seccomp filter cannot be lifted by this user"),
]


class Case:
    """One guest in one sandbox, under one mode."""

    def __init__(self, box: Box, guest: Guest, rng: random.Random) -> None:
        self.box, self.guest, self.rng = box, guest, rng
        self.boxes = [box]
        self.handle = box.start(*guest.command())
        box.await_output(self.handle, "ready\n", READY_S)

    def pause(self, most_ms: int = 30) -> None:
        """Let the guest run for a moment."""
        time.sleep(self.rng.uniform(0, most_ms) / 1000)

    def fork(self, box: Box, checkpoint: str, n: int) -> list[Box]:
        twins = box.fork(checkpoint, n)
        self.boxes += twins
        return twins

    def verdict(self, box: Box | None = None) -> None:
        """Let the guest in a sandbox go on to its end: it must be content."""
        box = box or self.box
        box.shell(f"touch {GO}")
        end = box.wait(self.handle, VERDICT_S)
        if end.get("exit_code") != 0:
            raise Failed(f"ended as {end.get('state')}, code {end.get('exit_code')}, signal "
                         f"{end.get('signal')}: {box.output(self.handle)!r}")

    def wreck(self) -> None:
        self.box.shell(WRECK, check=False)


def mode_go_on(case: Case) -> None:
    """A checkpoint does not disturb, nor do three."""
    for _ in range(3):
        case.box.checkpoint()
        case.pause()
    case.verdict()


def mode_rollback(case: Case) -> None:
    """Everything killed and removed, then rolled back."""
    checkpoint = case.box.checkpoint()
    case.pause()
    case.wreck()
    case.box.rollback(checkpoint)
    case.pause()
    case.verdict()


def mode_cold(case: Case) -> None:
    """Rollback when no standby was made ahead."""
    checkpoint = case.box.checkpoint()
    case.wreck()
    if case.box.rollback(checkpoint)["hot"]:
        raise Failed("the rollback was hot although MULLIGAN_NO_STANDBY is set")
    case.verdict()


def mode_rollback_20(case: Case) -> None:
    """Twenty times to one checkpoint; every fifth one goes to its end."""
    checkpoint = case.box.checkpoint()
    for i in range(20):
        case.pause(10)
        if i % 5 == 4:
            case.verdict()
        elif i % 5 == 2:
            case.wreck()
        case.box.rollback(checkpoint)
    case.verdict()


def mode_sibling(case: Case) -> None:
    """Rollback to a checkpoint that is not an ancestor of now."""
    first = case.box.checkpoint()
    case.pause()
    left = case.box.checkpoint()
    case.box.rollback(first)
    case.pause()
    right = case.box.checkpoint()
    for checkpoint in (left, right, first, left):
        case.box.rollback(checkpoint)
        case.verdict()


def mode_chain_40(case: Case) -> None:
    """Forty checkpoints in a row, then back to some of them."""
    chain = []
    for _ in range(40):
        case.pause(5)
        chain.append(case.box.checkpoint())
    for checkpoint in case.rng.sample(chain, 4) + [chain[0], chain[-1]]:
        case.box.rollback(checkpoint)
        case.verdict()


def mode_fork(case: Case) -> None:
    """Two forks and the original each come to a good end."""
    checkpoint = case.box.checkpoint()
    twins = case.fork(case.box, checkpoint, 2)
    case.verdict(twins[0])
    case.verdict()
    case.verdict(twins[1])


def mode_fork_of_fork(case: Case) -> None:
    """A fork checkpoints and forks itself; then the first one is removed."""
    child = case.fork(case.box, case.box.checkpoint(), 1)[0]
    case.pause()
    checkpoint = child.checkpoint()
    grandchild = case.fork(child, checkpoint, 1)[0]
    case.box.remove()
    case.verdict(grandchild)
    child.rollback(checkpoint)
    case.verdict(child)


def mode_refused(case: Case) -> None:
    """What cannot be saved is refused, by name, and goes on undisturbed."""
    for _ in range(2):
        try:
            case.box.checkpoint()
        except Refused as refusal:
            if not refusal.error.get("pid") or not refusal.error.get("cause"):
                raise Failed(f"the refusal names no process: {refusal.error}") from None
        else:
            raise Failed("was not refused: move it to the other rows of the table")
    case.verdict()


@dataclass
class Mode:
    """How to treat a guest. `every`: in the fast subset for all guests."""

    name: str
    run: Callable[[Case], None]
    env: dict[str, str] = field(default_factory=dict)
    every: bool = False
    renews: bool = True     # the guest ends in an incarnation that was built anew
    user_only: bool = False # as root it would be like another one


def masked(features: str) -> Mode:
    return Mode(f"masked-{features.split(',')[0]}", mode_sibling, {"MULLIGAN_MASK": features})


MODES = [
    Mode("go_on", mode_go_on, every=True, renews=False),
    Mode("rollback", mode_rollback, every=True),
    Mode("rollback_20", mode_rollback_20),
    Mode("sibling", mode_sibling, every=True),
    Mode("chain_40", mode_chain_40),
    Mode("fork", mode_fork, every=True),
    Mode("fork_of_fork", mode_fork_of_fork),
    Mode("cold", mode_cold, {"MULLIGAN_NO_STANDBY": "1"}, every=True),
    masked("pagemap_scan,uffd,uffd_kernel,uffd_wp"),
    masked("multi_mremap"),
    masked("cgroup,cgroup_v1,cgroup_v2"),
    masked("procmap_query,membarrier_get,timer_ids,lowerdir_fd,madv_populate,madv_collapse,pidns_ioctl,process_madvise"),
]
MODES.append(Mode("one_id", mode_sibling, {"MULLIGAN_MASK": "id_ranges"}, user_only=True))
REFUSED = Mode("refused", mode_refused, every=True)


def alone(build: Path, guest: Guest) -> None:
    """Run a guest without any sandbox: it must be content with itself."""
    with tempfile.TemporaryDirectory(prefix="mulligan-guest.") as folder:
        os.chmod(folder, 0o777)
        argv = [word.replace("/guests/", f"{build}/tests/guests/")
                .replace("/scripts/", f"{HERE}/guests/")
                .replace(GO, f"{folder}/go") for word in guest.command()]
        process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.PIPE, text=True,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(0.05)
        early = process.poll()
        Path(folder, "go").touch()
        try:
            rest, _ = process.communicate(timeout=VERDICT_S * SLOW)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            raise Failed(f"did not end within {VERDICT_S} s") from None
    if first != "ready\n" or early is not None or process.returncode or rest:
        raise Failed(f"said {first + rest!r} and ended with {process.returncode}"
                     f"{' before the go' if early is not None else ''}")


def remove_all(boxes: list[Box]) -> None:
    """Remove every one; the first failure is told after the last is gone."""
    failures = []
    for box in boxes:
        try:
            box.remove()
        except Failed as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


def run_mode(case: Case, mode: Mode) -> None:
    """Run a case; where a limit is known, see to it that it is that one."""
    if not case.guest.limit or not mode.renews:
        return mode.run(case)
    try:
        mode.run(case)
    except Failed as failure:
        if case.guest.limit not in str(failure):
            raise
    else:
        raise Failed("the limit is gone: take it out of the table and of docs/limits.md")


class Runner:
    """Runs the cases in a few threads and prints TAP in the order of ends."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.lock = threading.Lock()
        self.number = 0
        self.failed = 0

    def say(self, verdict: str, name: str, words: str = "") -> None:
        with self.lock:
            self.number += 1
            self.failed += verdict == "not ok"
            skip = f" # SKIP {words}" if words and verdict == "ok" else ""
            print(f"{verdict} {self.number} - {name}{skip}", flush=True)
            if verdict == "not ok":
                for line in words.splitlines():
                    print(f"# {line}", flush=True)

    def run_case(self, guest: Guest, mode: Mode) -> None:
        name = f"{guest.name}/{mode.name}"
        if guest.root and os.geteuid() != 0:
            self.say("ok", name, "needs more than one user id")
            return
        if guest.name == "own_seccomp" and os.geteuid() == 0:
            self.say("ok", name, "root can save it")
            return
        try:
            if mode.name == "alone":
                alone(self.args.build, guest)
            else:
                self.run_in_box(guest, mode)
        except (Failed, Refused, OSError, subprocess.TimeoutExpired, KeyError) as error:
            self.say("not ok", name, f"{type(error).__name__}: {error}")
        else:
            self.say("ok", name)

    def run_in_box(self, guest: Guest, mode: Mode) -> None:
        tool = Tool(self.args.build, mode.env)
        label = f"t{os.getpid()}-{guest.name}-{mode.name}".replace("_", "-")[:60]
        build = self.args.build
        box = Box.create(tool, label, "--volume", f"{build}/tests/guests:/guests:ro",
                         "--volume", f"{HERE}/guests:/scripts:ro")
        boxes = [box]
        try:
            case = Case(box, guest, random.Random(name_seed(guest.name, mode.name)))
            boxes = case.boxes
            run_mode(case, mode)
        finally:
            if not self.args.keep:
                remove_all(boxes)

    def run(self, cases: list[tuple[Guest, Mode]]) -> int:
        print(f"TAP version 13\n1..{len(cases)}", flush=True)
        with ThreadPoolExecutor(self.args.jobs) as pool:
            for future in [pool.submit(self.run_case, *case) for case in cases]:
                future.result()
        return 1 if self.failed else 0


def name_seed(guest: str, mode: str) -> str:
    """Pauses differ from case to case and are the same in every run."""
    return f"{guest}/{mode}"


def choose(args: argparse.Namespace) -> list[tuple[Guest, Mode]]:
    """The cases to run, in the order of the tables."""
    cases = []
    for guest in GUESTS:
        cases.append((guest, Mode("alone", mode_go_on)))
        if guest.refused:
            cases.append((guest, REFUSED))
            continue
        for mode in MODES:
            if mode.user_only and (guest.root or os.geteuid() == 0):
                continue
            if args.all or args.patterns or mode.every or guest.core:
                cases.append((guest, mode))
    if args.patterns:
        cases = [case for case in cases
                 if any(fnmatch.fnmatch(f"{case[0].name}/{case[1].name}", p)
                        for p in args.patterns)]
    return cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parent / "build")
    parser.add_argument("--all", action="store_true", help="every guest in every mode")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", action="store_true", help="leave the sandboxes behind")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("patterns", nargs="*", metavar="GUEST/MODE", help="with wildcards")
    args = parser.parse_args()
    args.build = args.build.resolve()
    cases = choose(args)
    if args.list:
        for guest, mode in cases:
            print(f"{guest.name}/{mode.name}")
        return 0
    if not (args.build / "mulligan").exists():
        cases = [case for case in cases if case[1].name == "alone"]
        print("# there is no build/mulligan: the guests run alone", flush=True)
    with tempfile.TemporaryDirectory(prefix="mulligan-matrix.") as top:
        # keepers and layers of this run only, gone with it
        for variable, part in (("MULLIGAN_RUNTIME", "run"), ("MULLIGAN_STATE", "state")):
            if variable not in os.environ:
                os.environ[variable] = f"{top}/{part}"
                os.mkdir(os.environ[variable], 0o700)
        return Runner(args).run(cases)


if __name__ == "__main__":
    sys.exit(main())

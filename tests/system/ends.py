"""Ends: of commands at their timeout, of keepers at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from box import Box, Failed
from keeper import Keeper, Refused, keeper_pid
from ground import Ground, check, equal, refused, test

# A child that leaves its session and its parent, ignores what it can, and has
# closed the pipe it was given.
ESCAPED = ("import os, signal, time\n"
           "for sig in set(range(1, 65)) - {signal.SIGCHLD}:\n"
           "    try: signal.signal(sig, signal.SIG_IGN)\n"
           "    except (OSError, ValueError): pass\n"
           "for n in range(4):\n"
           "    if os.fork() == 0:\n"
           "        os.setsid()\n"
           "        if os.fork() == 0:\n"
           "            if n % 2: os.closerange(0, 100)\n"
           "            while True: time.sleep(100)\n"
           "        os._exit(0)\n"
           "    os.wait()\n"
           "print('escaped', flush=True)\n"
           "time.sleep(1000)\n")


def commands_in(box: Box) -> list[str]:
    return [name for name in box.text("ps -e -o comm=").split() if name.startswith("python3")]


@test
def timeout_finds_descendants_that_left_session_and_parent(g: Ground) -> None:
    box = g.create()
    other = box.start("/bin/sleep", "1000")
    begin = time.monotonic()
    done = box.keeper.call("exec", argv=["/usr/bin/python3", "-c", ESCAPED], timeout_ms=1000)
    check(time.monotonic() - begin < 6, "the timeout came late")
    equal(done["timed_out"], True)
    equal(done["stdout"], b"escaped\n")
    end = time.monotonic() + 3
    while commands_in(box) and time.monotonic() < end:
        time.sleep(0.02)
    equal(commands_in(box), [], "alive after the timeout")
    equal([c["state"] for c in box.keeper.call("commands")["commands"] if c["handle"] == other],
          ["running"], "another command")


@test
def timeout_ends_a_command_that_forks_without_pause(g: Ground) -> None:
    box = g.create("one", "--pids", "200")
    script = "import os\nwhile True:\n try: os.fork()\n except OSError: pass\n"
    begin = time.monotonic()
    done = box.keeper.call("exec", argv=["/usr/bin/python3", "-c", script], timeout_ms=500)
    check(time.monotonic() - begin < 15, "the timeout came late")
    equal(done["timed_out"], True)
    end = time.monotonic() + 5
    while (left := len(commands_in(box))) and time.monotonic() < end:
        time.sleep(0.05)
    equal(left, 0, "alive after the timeout")


def rss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


@test
def output_without_end_is_bounded_in_the_keeper(g: Ground) -> None:
    box = g.create()
    pid = keeper_pid("one")
    before = rss_kb(pid)
    handle = box.start("/bin/sh", "-c", "head -c 300000000 /dev/zero | tr '\\0' x; echo end")
    end = box.wait(handle, 60)
    equal(end["stdout_bytes"], 300000004)
    check(rss_kb(pid) < before + 32 * 1024, f"the keeper grew from {before} to {rss_kb(pid)} KB")
    got = box.keeper.call("attach", handle=handle, follow=False)
    kept = got["stdout"]
    equal(got["truncated"], True)
    check(kept.endswith(b"xend\n"), f"the end of the output is lost: {kept[-20:]!r}")
    check(len(kept) < 16 << 20, f"{len(kept)} bytes were kept")


@test
def client_that_vanishes_takes_its_command_along(g: Ground) -> None:
    box = g.create()
    client = subprocess.Popen([g.tool.path, "exec", "one", "--", "sleep", "777"],
                              env=g.tool.env, stdout=subprocess.DEVNULL)
    box.shell("until pgrep -f 'sleep 777'; do sleep 0.01; done")
    client.kill()
    client.wait()
    box.shell("for i in $(seq 200); do pgrep -x sleep || exit 0; sleep 0.02; done; exit 1")


def kill_and_collect(g: Ground, box: Box) -> None:
    """The keeper is dead: nothing runs, gc leaves the files of checkpoints and
    rm nothing, and the name can be taken again."""
    g.boxes.remove(box)
    box.keeper.close()
    g.gone(g.processes)
    refused(lambda: g.tool.json("checkpoint", "one"), "one")
    g.collect()
    g.gone(g.runtime_names)
    g.forget()
    again = g.create()
    equal(again.text("echo alive"), "alive")
    g.boxes.remove(again)
    again.remove()


def busy(g: Ground) -> tuple[Box, str]:
    """A sandbox with some processes and files, and its checkpoint. The
    environment is what g.processes() knows them by."""
    box = g.create("one", "--env", f"MARK={g.env['MULLIGAN_RUNTIME']}")
    for _ in range(5):
        box.start("/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait")
    box.start("/usr/bin/python3", "-c", "import os\nx = os.urandom(20 << 20)\nwhile True: pass")
    box.shell("head -c 5000000 /dev/urandom > /w/f; sleep 0.1")
    return box, box.checkpoint()


def die_during(g: Ground, *command: str) -> None:
    """SIGKILL the keeper at growing moments of one command."""
    for delay_ms in (0, 1, 3, 8, 20):
        box, checkpoint = busy(g)
        check(len(g.processes()) > 10, "the sandbox's processes are not seen")
        words = [checkpoint if word == "CKPT" else word for word in command]
        pid = keeper_pid("one")
        running = subprocess.Popen([g.tool.path, *words], env=g.tool.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.005 + delay_ms / 1000)
        os.kill(pid, signal.SIGKILL)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            raise Failed(f"the client hangs when the keeper dies {delay_ms} ms into it") from None
        kill_and_collect(g, box)


@test
def keeper_killed_during_checkpoint_leaves_nothing(g: Ground) -> None:
    die_during(g, "checkpoint", "one")


@test
def keeper_killed_during_rollback_leaves_nothing(g: Ground) -> None:
    die_during(g, "rollback", "one", "CKPT")


@test
def keeper_killed_while_it_is_being_made_leaves_nothing(g: Ground) -> None:
    for delay_ms in (1, 5, 12, 25, 50):
        making = subprocess.Popen([g.tool.path, "create", "one"], env=g.tool.env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay_ms / 1000)
        for line in g.processes():
            pid, comm = line.split(" ", 1)
            if comm.startswith("mulligan-keeper"):
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
        making.wait(20)
        g.tool.run("rm", "one")     # where it was too late to kill
        g.tool.run("gc")
        g.gone(g.processes)
        g.gone(g.runtime_names)


@test
def stopped_keeper_does_not_hang_gc_or_others(g: Ground) -> None:
    box = g.create()
    g.create("two")
    pid = keeper_pid("one")
    os.kill(pid, signal.SIGSTOP)
    try:
        equal(g.tool.run("gc", timeout_s=20).returncode, 0)
        equal(g.tool.run("exec", "two", "--", "echo", "x", timeout_s=20).stdout, "x\n")
        equal(sorted(g.runtime_names()), ["one", "two"])
    finally:
        os.kill(pid, signal.SIGCONT)
    equal(box.text("echo alive"), "alive")


@test
def one_of_many_creates_of_one_name_wins(g: Ground) -> None:
    results: list[str] = []

    def create() -> None:
        done = g.tool.run("create", "one")
        results.append("made" if done.returncode == 0 else done.stderr)

    threads = [threading.Thread(target=create) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(results.count("made"), 1, str(results))
    check(all("one" in words for words in results if words != "made"), str(results))
    with Keeper("one") as keeper:
        equal(keeper.call("exec", argv=["/bin/echo", "x"])["stdout"], b"x\n")
    equal(g.tool.run("rm", "one").returncode, 0)


@test
def rollbacks_and_checkpoints_at_once_leave_a_whole_sandbox(g: Ground) -> None:
    box, checkpoint = busy(g)
    words: list[str] = []

    def use(method: str, **params: str) -> None:
        for _ in range(3):
            with Keeper("one", 30) as keeper:
                try:
                    keeper.call(method, **params)
                except Refused as refusal:
                    words.append(str(refusal.error["cause"]))

    threads = [threading.Thread(target=use, args=("checkpoint",)),
               threading.Thread(target=use, args=("rollback",), kwargs={"checkpoint": checkpoint}),
               threading.Thread(target=use, args=("checkpoint",)),
               threading.Thread(target=use, args=("rollback",), kwargs={"checkpoint": checkpoint})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    box.rollback(checkpoint)
    equal(box.text("pgrep -c sleep; stat -c %s /w/f"), "10\n5000000", str(words))

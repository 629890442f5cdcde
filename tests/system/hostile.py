"""Guests that do their worst: rollback still works, nothing outside notices."""

from __future__ import annotations

import os
import signal
import time

from box import Box
from ground import Ground, Skip, check, equal, test


def prepared(g: Ground, *options: str) -> tuple[Box, str]:
    """A sandbox with a file and a process, and the checkpoint of that."""
    box = g.create("one", *options)
    box.start("/bin/sh", "-c", "echo up > /w/up; exec sleep 1000")
    box.shell("until [ -s /w/up ]; do sleep 0.01; done; echo kept > /w/kept")
    return box, box.checkpoint()


def restored(box: Box, checkpoint: str) -> None:
    box.rollback(checkpoint)
    equal(box.text("cat /w/kept; ps -e -o comm= | grep -c sleep"), "kept\n1")


@test
def remove_everything(g: Ground) -> None:
    source = g.top / "outside"
    source.mkdir()
    (source / "file").write_text("safe")
    box, checkpoint = prepared(g, "--volume", f"{source}:/vol:cow",
                               "--volume", f"{source}:/ro:ro")
    box.shell("rm -rf --no-preserve-root / 2>/dev/null", check=False)
    restored(box, checkpoint)
    equal((source / "file").read_text(), "safe")
    check(os.path.exists("/usr/bin/env"), "the host's /usr is gone")


@test
def kill_everything(g: Ground) -> None:
    box, checkpoint = prepared(g)
    for _ in range(3):
        box.shell("kill -9 -1; kill -9 1", check=False)
        restored(box, checkpoint)


@test
def fork_bomb_is_contained(g: Ground) -> None:
    box, checkpoint = prepared(g, "--pids", "100")
    box.start("/bin/bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 5")
    time.sleep(1.5)
    check(len(os.listdir("/proc")) < 3000, "the bomb is outside")
    restored(box, checkpoint)


@test
def default_limit_on_processes_is_on(g: Ground) -> None:
    box, checkpoint = prepared(g)
    box.start("/usr/bin/python3", "-c",
              "import os, time\n"
              "n = 0\n"
              "try:\n"
              "    while True:\n"
              "        if os.fork() == 0: time.sleep(1000)\n"
              "        n += 1\n"
              "except OSError: open('/w/n', 'w').write(str(n)); time.sleep(1000)\n")
    box_done = False
    for _ in range(600):
        with open("/proc/loadavg") as f:
            total = int(f.read().split()[3].split("/")[1])
        check(total < 30000, "no limit on processes")
        try:
            box_done = box.shell("test -s /w/n", check=False)["exit_code"] == 0
        except Exception:  # pylint: disable=broad-except  (no process left for the shell)
            box_done = True
        if box_done:
            break
        time.sleep(0.05)
    check(box_done, "the processes did not reach a limit")
    restored(box, checkpoint)


@test
def stopped_processes_can_be_saved_and_rolled_back(g: Ground) -> None:
    box, checkpoint = prepared(g)
    box.shell("pkill -STOP sleep")
    stopped = box.checkpoint()
    box.rollback(checkpoint)
    equal(box.text("ps -e -o stat=,comm= | grep sleep | cut -c1"), "S")
    box.rollback(stopped)
    equal(box.text("ps -e -o stat=,comm= | grep sleep | cut -c1"), "T")


@test
def ptraced_process_is_refused_or_saved_but_never_harmed(g: Ground) -> None:
    box, checkpoint = prepared(g)
    script = ("import ctypes, os, time\n"
              "libc = ctypes.CDLL(None)\n"
              "pid = os.fork()\n"
              "if pid == 0:\n"
              "    libc.ptrace(0, 0, 0, 0)\n"
              "    os.kill(os.getpid(), 19)\n"
              "    time.sleep(1000)\n"
              "os.waitpid(pid, 2)\n"
              "open('/w/traced', 'w').write(str(pid))\n"
              "time.sleep(1000)\n")
    box.start("/usr/bin/python3", "-c", script)
    box.shell("until [ -s /w/traced ]; do sleep 0.01; done")
    done = g.tool.run("checkpoint", "one")
    check(done.returncode == 0 or box.text("cat /w/traced") in done.stderr,
          f"the refusal does not name the process: {done.stderr}")
    equal(box.text("grep -c . /proc/$(cat /w/traced)/status | grep -c ."), "1")
    restored(box, checkpoint)


@test
def process_without_descriptors_or_cwd(g: Ground) -> None:
    box, checkpoint = prepared(g)
    script = ("import os, time\n"
              "os.makedirs('/w/gone'); os.chdir('/w/gone'); os.rmdir('/w/gone')\n"
              "open('/w/ready', 'w').close()\n"
              "os.closerange(0, 1000)\n"
              "time.sleep(1000)\n")
    box.start("/usr/bin/python3", "-c", script)
    box.shell("until [ -e /w/ready ]; do sleep 0.01; done; sleep 0.05")
    done = g.tool.run("checkpoint", "one")
    check(done.returncode in (0, 1), done.stderr)
    restored(box, checkpoint)


@test
def init_cannot_be_touched_from_inside(g: Ground) -> None:
    box = g.create()
    for command in ("kill -9 1; kill -0 1 2>/dev/null; test -d /proc/1",
                    "! cat /proc/1/mem > /dev/null 2>&1",
                    "! ls -l /proc/1/fd/0 > /dev/null 2>&1",
                    "! readlink /proc/1/exe"):
        box.shell(command)
    script = ("import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
              "exit(0 if libc.ptrace(0x4206, 1, 0, 0) == -1 else 1)")
    equal(box.keeper.call("exec", argv=["/usr/bin/python3", "-c", script])["exit_code"], 0)
    equal(box.text("echo alive"), "alive")


@test
def host_is_not_visible(g: Ground) -> None:
    box = g.create()
    equal(box.text("ls -A /home /root 2>/dev/null | grep -v : | tr -d '\\n'"), "")
    hashes = box.shell("cut -d: -f2 /etc/shadow | grep -c '[$]'", check=False)["stdout"]
    equal(hashes, b"0\n", "password hashes in /etc/shadow")
    equal(box.text("ls /etc/ssh 2>/dev/null | grep -c key || true"), "0")
    equal(box.text("ip -o link 2>/dev/null | grep -vc ' lo:' || true"), "0")
    count = int(box.text("ls -d /proc/[0-9]* | wc -l"))
    check(count < 10, f"{count} processes are visible")


@test
def restored_process_is_confined_as_before(g: Ground) -> None:
    box, checkpoint = prepared(g)
    look = ("grep -hE '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)' "
            "/proc/$(pgrep -o sleep)/status")
    before = box.text(look)
    check("Seccomp:\t2" in before, "there is no filter")
    check("NoNewPrivs:\t1" in before, "no_new_privs is off")
    box.rollback(checkpoint)
    equal(box.text(look), before)


@test
def killed_keeper_leaves_nothing_running(g: Ground) -> None:
    box, _ = prepared(g)
    pid = g.tool.json("inspect", "one")["info"]["keeper_pid"]
    os.kill(pid, signal.SIGKILL)
    g.boxes.remove(box)
    box.keeper.close()
    g.gone(g.processes)
    g.collect()
    g.gone(g.runtime_names)
    g.forget()


@test
def family_survives_the_death_of_one_keeper(g: Ground) -> None:
    box, checkpoint = prepared(g)
    twins = g.fork(box, checkpoint, 2)
    pid = g.tool.json("inspect", "one")["info"]["keeper_pid"]
    os.kill(pid, signal.SIGKILL)
    g.boxes.remove(box)
    box.keeper.close()
    g.tool.run("gc")
    for twin in twins:
        twin.shell("rm /w/kept; kill -9 -1", check=False)
        restored(twin, checkpoint)


@test
def full_state_directory_is_an_error_and_nothing_is_lost(g: Ground) -> None:
    if os.geteuid() != 0:
        raise Skip("mounting a small tmpfs needs root")
    state = g.env["MULLIGAN_STATE"]
    if os.system(f"mount -t tmpfs -o size=16m none {state}") != 0:
        raise Skip("no tmpfs can be mounted here")
    try:
        box, checkpoint = prepared(g)
        box.shell("head -c 100m /dev/zero > /w/big 2>/dev/null; true", check=False)
        done = g.tool.run("checkpoint", "one")
        check(done.returncode in (0, 1), f"{done.returncode}: {done.stderr}")
        check(done.returncode == 0 or done.stderr, "no word of the cause")
        restored(box, checkpoint)
        g.check_clean()
    finally:
        os.system(f"umount {state}")

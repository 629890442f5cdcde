"""exec and the handles of commands."""

from __future__ import annotations

import json
import subprocess
import time

from box import Box
from keeper import Keeper
from ground import Ground, Skip, check, equal, refused, test


@test
def exec_gives_both_streams_and_the_code(g: Ground) -> None:
    g.create()
    done = g.tool.run("exec", "one", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    equal((done.returncode, done.stdout, done.stderr), (3, "out\n", "err\n"))


@test
def exec_json_has_the_fields_of_the_contract(g: Ground) -> None:
    g.create()
    ran = g.tool.run("exec", "--json", "one", "--", "sh", "-c", "printf abc; kill -TERM $$")
    done = json.loads(ran.stdout)
    equal(done["stdout"], "abc")
    equal(done["stdout_bytes"], 3)
    equal(done["signal"], 15)
    equal(done["exit_code"], None)
    equal(done["timed_out"], False)
    check(done["duration_ms"] >= 0)


@test
def exec_takes_directory_environment_and_input(g: Ground) -> None:
    box = g.create("one", "--env", "FROM=create")
    done = box.shell("pwd; echo $FROM $GIVEN", cwd="/usr/bin", env=["GIVEN=exec"])
    equal(done["stdout"], b"/usr/bin\ncreate exec\n")
    piped = subprocess.run([g.tool.path, "exec", "-i", "one", "--", "wc", "-c"],
                           input=bytes(range(256)) * 1000, env=g.tool.env,
                           capture_output=True, check=False, timeout=30)
    equal(piped.stdout.strip(), b"256000", piped.stderr.decode())


@test
def output_is_binary_safe_and_complete(g: Ground) -> None:
    box = g.create()
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 8000)"
    done = box.keeper.call("exec", argv=["/usr/bin/python3", "-c", script])
    equal(done["stdout_bytes"], 256 * 8000)
    equal(done["stdout"], bytes(range(256)) * 8000)


@test
def timeout_kills_all_descendants(g: Ground) -> None:
    box = g.create()
    start = time.monotonic()
    done = g.tool.run("exec", "-t", "300ms", "one", "--", "sh", "-c",
                      "setsid sleep 1000 & sleep 1000 & echo begun; wait")
    equal(done.returncode, 124, done.stderr)
    equal(done.stdout, "begun\n")
    check(time.monotonic() - start < 10, "the timeout came late")
    equal(box.text("ps -e -o comm= | grep -c sleep || true"), "0")


@test
def background_child_does_not_hang_the_caller(g: Ground) -> None:
    g.create()
    start = time.monotonic()
    done = g.tool.run("exec", "one", "--", "sh", "-c", "sleep 1000 & echo done")
    equal((done.returncode, done.stdout), (0, "done\n"))
    check(time.monotonic() - start < 10, "the caller waited for the child")


@test
def missing_program_is_an_error_of_its_own(g: Ground) -> None:
    g.create()
    done = g.tool.run("exec", "one", "--", "/no/such/program")
    check(done.returncode != 0 and "/no/such/program" in done.stderr, done.stderr)


@test
def handle_survives_rollback_without_doubled_output(g: Ground) -> None:
    box = g.create()
    handle = box.start("/bin/sh", "-c", "echo before; while [ ! -e /w/go ]; do sleep 0.01; done; "
                       "echo after; exit 5")
    box.await_output(handle, "before\n")
    checkpoint = box.checkpoint()
    for _ in range(2):
        box.rollback(checkpoint)
        equal(box.output(handle), "before\n")
    box.shell("touch /w/go")
    equal(box.wait(handle)["exit_code"], 5)
    equal(box.output(handle), "before\nafter\n")
    box.rollback(checkpoint)    # it lives again
    equal(box.output(handle), "before\n")
    box.shell("touch /w/go")
    equal(box.wait(handle)["exit_code"], 5)


@test
def command_started_after_the_checkpoint_is_rolled_back(g: Ground) -> None:
    box = g.create()
    checkpoint = box.checkpoint()
    handle = box.start("/bin/sleep", "1000")
    box.rollback(checkpoint)
    equal(box.wait(handle)["state"], "rolled_back")


@test
def command_killed_for_its_memory_is_told_after_a_rollback_too(g: Ground) -> None:
    """Each incarnation counts anew: an older kill must not hide a later one."""
    if "limits on memory" in g.tool.run("create", "probe", "--memory", "64m").stderr:
        raise Skip("the memory of a sandbox cannot be limited here (no cgroup)")
    equal(g.tool.run("rm", "probe").returncode, 0)
    box = g.create("one", "--memory", "64m")
    hog = "while [ ! -e /w/go ]; do sleep 0.01; done; exec tail /dev/zero"
    check(box.shell("exec tail /dev/zero", check=False)["oom_killed"], "the first hog")
    handle = box.start("/bin/sh", "-c", f"echo begun; {hog}")
    box.await_output(handle, "begun\n")
    checkpoint = box.checkpoint()
    for _ in range(2):
        box.rollback(checkpoint)
        box.shell("touch /w/go")
        ended = box.wait(handle)
        equal((ended["signal"], ended["oom_killed"]), (9, True))


@test
def waiting_client_is_told_of_a_rollback(g: Ground) -> None:
    box = g.create()
    checkpoint = box.checkpoint()
    waiter = subprocess.Popen([g.tool.path, "exec", "one", "--", "sleep", "1000"],
                              env=g.tool.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not any(c["state"] == "running" for c in box.keeper.call("commands")["commands"]):
        time.sleep(0.01)
    box.rollback(checkpoint)
    _, words = waiter.communicate(timeout=10)
    check(waiter.returncode != 0, "the waiting client was told that all is well")
    check(words, "the waiting client was told nothing")


@test
def fork_has_the_handle_too(g: Ground) -> None:
    box = g.create()
    handle = box.start("/bin/sh", "-c", "read line; echo got $line; exit 0")
    running = box.start("/bin/sh", "-c", "echo begun; while [ ! -e /w/go ]; do sleep 0.01; done; "
                        "hostname; exit 6")
    box.await_output(running, "begun\n")
    equal(box.wait(handle)["exit_code"], 0)
    for twin in g.fork(box, box.checkpoint(), 2):
        equal(twin.output(running), "begun\n")
        twin.shell("touch /w/go")
        equal(twin.wait(running)["exit_code"], 6)
    equal(box.keeper.call("commands")["commands"][-1]["state"], "running")


@test
def two_clients_get_their_own_output(g: Ground) -> None:
    box = g.create()
    with Keeper("one") as a, Keeper("one") as b:
        for client, text in ((a, b"first\n"), (b, b"second\n"), (a, b"third\n")):
            got = client.call("exec", argv=["/bin/echo", text.decode().strip()])
            equal(got["stdout"], text)
    equal(box.text("echo still"), "still")


@test
def unknown_handle_is_refused(g: Ground) -> None:
    box: Box = g.create()
    refused(lambda: box.keeper.call("wait", handle="no-such"), "no-such")

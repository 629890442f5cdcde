"""Bad input: an error with its cause, and nothing lost."""

from __future__ import annotations

import os
import socket

from keeper import HEADER, JSON, Keeper, Tool
from ground import Ground, Skip, check, equal, refused, test


@test
def unknown_sandbox_is_named(g: Ground) -> None:
    for command in (["exec", "nobody", "--", "true"], ["checkpoint", "nobody"],
                    ["rollback", "nobody"], ["tree", "nobody"], ["inspect", "nobody"],
                    ["fork", "nobody"], ["diff", "nobody"]):
        done = g.tool.run(*command)
        check(done.returncode not in (0, 2), f"{command} ended with {done.returncode}")
        check("nobody" in done.stderr, f"{command}: {done.stderr}")


@test
def name_must_not_be_a_path(g: Ground) -> None:
    for name in ("../up", "a/b", ".", "", "a b", "-x", "x" * 300, "a\nb"):
        done = g.tool.run("create", "--", name)
        check(done.returncode in (1, 2), f"{name!r}: {done.returncode} {done.stderr}")
    equal(g.runtime_names(), [])


@test
def name_in_use_is_refused_and_the_first_one_unharmed(g: Ground) -> None:
    box = g.create()
    refused(lambda: g.tool.json("create", "one"), "one")
    equal(box.text("echo alive"), "alive")


@test
def rootfs_must_be_a_directory(g: Ground) -> None:
    file = g.top / "file"
    file.write_text("no root")
    refused(lambda: g.tool.json("create", "x", "--rootfs", str(file)), str(file))
    refused(lambda: g.tool.json("create", "x", "--rootfs", str(g.top / "none")), "none")
    equal(g.runtime_names(), [])


@test
def volume_must_exist_and_be_well_formed(g: Ground) -> None:
    for volume in ("/no/such:/vol", "/tmp", "/tmp:relative", "/tmp:/vol:maybe"):
        done = g.tool.run("create", "x", "--volume", volume)
        check(done.returncode in (1, 2), f"{volume}: {done.returncode}")
        check(done.stderr, f"{volume}: no words")
    equal(g.runtime_names(), [])


@test
def unknown_checkpoint_is_named_and_changes_nothing(g: Ground) -> None:
    box = g.create()
    box.shell("echo x > /w/f")
    handle = box.start("/bin/sleep", "1000")
    refused(lambda: box.rollback("no-such"), "no-such")
    refused(lambda: g.tool.json("fork", "one@no-such"), "no-such")
    refused(lambda: g.tool.json("diff", "one", "no-such"), "no-such")
    equal(box.text("cat /w/f"), "x")
    equal(box.keeper.call("commands")["commands"][-1]["handle"], handle)


@test
def usage_errors_end_with_2(g: Ground) -> None:
    for command in (["no-such-command"], ["exec", "x"], ["create", "--no-such-option"],
                    ["checkpoint"], ["fork", "x", "-n", "many"], []):
        done = g.tool.run(*command)
        equal(done.returncode, 2, f"{command}: {done.stderr}")
        check(done.stderr, f"{command}: no words")


@test
def every_command_has_help(g: Ground) -> None:
    for command in ("create", "run", "exec", "shell", "checkpoint", "rollback", "reset", "fork",
                    "tree", "diff", "ps", "rm", "gc", "cp", "inspect", "doctor"):
        done = g.tool.run(command, "--help")
        equal(done.returncode, 0, f"{command}: {done.stderr}")
        check(command in done.stdout, f"{command}: {done.stdout[:80]}")


@test
def other_version_is_told_so(g: Ground) -> None:
    g.create()
    with Keeper("one", 5) as keeper:
        body = b'{"id": 1, "method": "info", "params": {}, "version": 999}'
        keeper.socket.sendall(HEADER.pack(len(body), JSON, 0, 999) + body)
        try:
            reply = keeper.socket.recv(1 << 16)
        except (TimeoutError, ConnectionError):
            reply = b""
        check(b"version" in reply.lower(), f"the reply is {reply!r}")


@test
def garbage_on_the_socket_harms_nobody(g: Ground) -> None:
    box = g.create()
    for garbage in (b"\0" * 4096, b"GET / HTTP/1.0\r\n\r\n", b"\xff" * 8, os.urandom(100000),
                    HEADER.pack(1 << 31, JSON, 0, 1), HEADER.pack(3, JSON, 0, 1) + b"{{{",
                    HEADER.pack(2, JSON, 0, 1) + b"[]", HEADER.pack(5, JSON, 0, 1) + b"null "):
        with Keeper("one", 5) as keeper:
            try:
                keeper.socket.sendall(garbage)
                keeper.socket.shutdown(socket.SHUT_WR)
                while keeper.socket.recv(1 << 16):
                    pass
            except OSError:
                pass
    equal(box.text("echo alive"), "alive")


@test
def unknown_method_and_parameters_are_refused(g: Ground) -> None:
    box = g.create()
    refused(lambda: box.keeper.call("no_such_method"), "no_such_method")
    refused(lambda: box.keeper.call("checkpoint", surprise=1), "surprise")
    refused(lambda: box.keeper.call("exec", argv="not a list"), "argv")
    refused(lambda: box.keeper.call("exec"), "argv")
    refused(lambda: box.keeper.call("exec", argv=[]))
    equal(box.text("echo alive"), "alive")


@test
def create_is_refused_on_a_running_keeper(g: Ground) -> None:
    box = g.create()
    refused(lambda: box.keeper.call("create", name="two"))
    equal(g.runtime_names(), ["one"])


@test
def state_directory_of_another_user_is_refused(g: Ground) -> None:
    if os.geteuid() != 0:
        raise Skip("giving a directory away needs root")
    os.chown(g.env["MULLIGAN_RUNTIME"], 1234, 1234)
    refused(lambda: g.tool.json("create", "x"), "run")
    os.chown(g.env["MULLIGAN_RUNTIME"], 0, 0)


@test
def doctor_says_what_works(g: Ground) -> None:
    done = g.tool.run("doctor")
    check(done.returncode in (0, 1), done.stderr)
    check(len(done.stdout.splitlines()) > 5, done.stdout)


@test
def limits_asked_for_in_vain_are_told(g: Ground) -> None:
    tool = Tool(g.build, {**g.env, "MULLIGAN_MASK": "cgroup,cgroup_v1,cgroup_v2"})
    asked = tool.run("create", "one", "--memory", "100m")
    equal(asked.returncode, 0)
    check("limits on memory" in asked.stderr, f"said {asked.stderr!r}")
    silent = tool.run("create", "two")
    equal((silent.returncode, silent.stderr), (0, ""))
    equal(tool.run("rm", "--all").returncode, 0)

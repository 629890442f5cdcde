"""Misuse of places: directories that are none, full or another's; sockets and
files that lie."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from box import Box
from keeper import HEADER, JSON, Keeper, Refused, Tool
from ground import Ground, Skip, check, equal, refused, test


def tool_with(g: Ground, **env: str) -> Tool:
    return Tool(g.build, {**g.env, **env})


@test
def empty_rootfs_is_refused_or_serves_what_it_can(g: Ground) -> None:
    empty = g.top / "empty"
    empty.mkdir()
    empty.chmod(0o755)
    done = g.tool.run("create", "x", "--rootfs", str(empty))
    if done.returncode:
        check(str(empty) in done.stderr, done.stderr)
        equal(g.runtime_names(), [])
        return
    ran = g.tool.run("exec", "x", "--", "/bin/sh")
    check(ran.returncode != 0 and "/bin/sh" in ran.stderr, ran.stderr)
    equal(sorted(os.listdir(empty)), [], "the rootfs was written to")
    equal(g.tool.run("rm", "x").returncode, 0)


@test
def rootfs_that_is_a_link_to_itself_is_refused(g: Ground) -> None:
    loop = g.top / "loop"
    loop.symlink_to(loop)
    refused(lambda: g.tool.json("create", "x", "--rootfs", str(loop)), "loop")
    equal(g.runtime_names(), [])


@test
def state_or_runtime_directory_that_is_a_file_is_refused(g: Ground) -> None:
    file = g.top / "file"
    file.write_text("")
    for variable in ("MULLIGAN_STATE", "MULLIGAN_RUNTIME"):
        for path in (file, file / "below"):
            tool = tool_with(g, **{variable: str(path)})
            refused(lambda tool=tool: tool.json("create", "x"), "file")
    equal(g.runtime_names(), [])
    g.gone(g.processes)


@test
def directory_of_another_user_is_refused(g: Ground) -> None:
    if os.geteuid() != 0:
        for variable in ("MULLIGAN_STATE", "MULLIGAN_RUNTIME"):
            tool = tool_with(g, **{variable: "/etc/mulligan-is-not-here"})
            refused(lambda tool=tool: tool.json("create", "x"), "mulligan-is-not-here")
        return
    for variable in ("MULLIGAN_STATE", "MULLIGAN_RUNTIME"):
        other = g.top / f"other-{variable}"
        other.mkdir(0o700)
        os.chown(other, 4242, 4242)
        tool = tool_with(g, **{variable: str(other)})
        refused(lambda tool=tool: tool.json("create", "x"), "other")
        equal(list(other.iterdir()), [])
    g.gone(g.processes)


@test
def runtime_directory_that_others_may_write_is_refused(g: Ground) -> None:
    open_to_all = g.top / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    tool = tool_with(g, MULLIGAN_RUNTIME=str(open_to_all))
    refused(lambda: tool.json("create", "x"), "open")


@test
def volumes_that_cannot_be_are_refused(g: Ground) -> None:
    source = g.top / "source"
    source.mkdir()
    for volume in (f"{source}:/", f"{source}:/vol/../..", f"{source}:/proc", f"{source}:",
                   f":{source}", f"{source}:/a:ro:rw", f"{g.top}/none/such:/vol:cow"):
        done = g.tool.run("create", "x", "--volume", volume)
        check(done.returncode in (1, 2), f"{volume}: {done.returncode} {done.stderr}")
        check(done.stderr.strip(), f"{volume}: no words")
        equal(g.runtime_names(), [], volume)
    g.gone(g.processes)


@test
def liar_in_the_place_of_a_keeper_is_found_out(g: Ground) -> None:
    """Clients meet another version, garbage, silence and a closed door."""
    place = Path(g.env["MULLIGAN_RUNTIME"]) / "liar"
    place.mkdir(0o700)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(place / "sock"))
    server.listen(8)
    error = json.dumps({"id": 1, "result": {}}).encode()
    answers = [HEADER.pack(len(error), JSON, 0, 999) + error, b"\0" * 64, b"\xff" * 64, b"",
               HEADER.pack(4, JSON, 0, 1) + b"{{{{", HEADER.pack(2, JSON, 0, 1) + b"[]"]

    def serve() -> None:
        for answer in answers:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for i in range(len(answers)):
        done = g.tool.run("checkpoint", "liar", timeout_s=10)
        check(done.returncode not in (0, -11, -6), f"answer {i}: {done.returncode} {done.stderr}")
        check(done.stderr.strip(), f"answer {i}: no words")
        if i == 0:
            check("version" in done.stderr, f"another version: {done.stderr}")
    server.close()
    shutil.rmtree(place)


@test
def gc_does_not_believe_a_pid_that_is_written_down(g: Ground) -> None:
    """What a dead keeper left may name a process that is another's by now."""
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        place = Path(g.env["MULLIGAN_RUNTIME"]) / "stale"
        place.mkdir(0o700)
        (place / "pid").write_text(f"{innocent.pid}\n")
        for command in (["gc"], ["rm", "stale"], ["rm", "--all"], ["gc"]):
            g.tool.run(*command, timeout_s=20)
            equal(innocent.poll(), None, f"'{command}' killed a process of ours")
    finally:
        innocent.kill()
        innocent.wait()
        shutil.rmtree(place, ignore_errors=True)


@test
def gc_leaves_what_is_not_ours(g: Ground) -> None:
    """Links and files that somebody put into the directories lead nowhere."""
    safe = g.top / "safe"
    safe.mkdir()
    (safe / "file").write_text("safe")
    box = g.create()
    box.checkpoint()
    for top in (g.env["MULLIGAN_STATE"], g.env["MULLIGAN_RUNTIME"]):
        os.symlink(safe, f"{top}/link")
        for inner in [p for p in Path(top).rglob("*") if p.is_dir() and not p.is_symlink()][:10]:
            try:
                os.symlink(safe, inner / "link")
            except OSError:
                pass
    g.tool.run("gc")
    g.boxes.remove(box)
    box.remove()
    g.tool.run("gc")
    equal((safe / "file").read_text(), "safe")
    for top in (g.env["MULLIGAN_STATE"], g.env["MULLIGAN_RUNTIME"]):
        for path in Path(top).rglob("link"):
            path.unlink()
    equal(g.tool.run("gc").returncode, 0)


def in_small_state(g: Ground, size: str, script: str) -> str:
    """Run a shell script with the state directory on a small tmpfs, in a mount
    namespace of its own; what it printed."""
    if os.geteuid() != 0:
        raise Skip("mounting a small tmpfs needs root")
    state = g.env["MULLIGAN_STATE"]
    whole = (f"set -e; mount -t tmpfs -o size={size} none {state}; "
             f"m() {{ {g.tool.path} \"$@\"; }}; set +e\n{script}")
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", whole],
                          env=g.tool.env, capture_output=True, text=True, errors="replace",
                          timeout=60, check=False)
    equal(done.returncode, 0, f"{done.stdout}\n{done.stderr}")
    return done.stdout


@test
def create_in_a_full_state_directory_says_so(g: Ground) -> None:
    out = in_small_state(g, "64k", f"""
        head -c 1m /dev/zero > {g.env['MULLIGAN_STATE']}/fill 2>/dev/null
        m create one 2>&1; echo "code $?"; m rm one 2>/dev/null; true""")
    if "code 0" not in out:
        check("space" in out.lower(), out)
    g.gone(g.processes)
    g.gone(g.runtime_names)


@test
def guest_that_fills_the_disk_is_rolled_back(g: Ground) -> None:
    """Neither checkpoint nor rollback needs room that the guest has taken."""
    out = in_small_state(g, "24m", """
        m create one >/dev/null || exit 9
        m exec one -- sh -c 'mkdir /w; echo kept > /w/kept'
        m exec -d one -- sh -c 'while :; do sleep 1000; done' >/dev/null
        first=$(m checkpoint one) || exit 8
        for round in 1 2; do
            m exec one -- sh -c 'rm /w/kept; i=0
                while head -c 1m /dev/zero > /w/f$i; do i=$((i+1)); done' 2>/dev/null
            echo "filled $(m exec one -- sh -c 'ls /w | wc -l')"
            m checkpoint one >/dev/null 2>/tmp/full.$$; echo "full $?"
            cat /tmp/full.$$ >&2; rm -f /tmp/full.$$
            m exec one -- echo alive
            m rollback one $first >/dev/null; echo "back $?"
            m exec one -- sh -c 'cat /w/kept; ls /w | wc -l; pgrep -c sleep'
            # what the full one left goes with it
            m tree one --json | tr ',' '\\n' | grep -c '"id"' >/dev/null
        done
        m fork one@$first -n 1 >/dev/null; echo "fork $?"
        m rm --all""")
    lines = out.split("\n")
    equal([line for line in lines if line.startswith("back")], ["back 0"] * 2, out)
    equal(lines.count("kept"), 2, out)
    equal(lines.count("alive"), 2, out)
    check(all(line in ("full 0", "full 1") for line in lines if line.startswith("full")), out)
    g.gone(g.processes)
    g.gone(g.runtime_names)


@test
def requests_of_a_bad_client_do_not_stop_the_others(g: Ground) -> None:
    """Hundreds of silent connections, half a frame, and a client that asks for
    much and reads nothing."""
    box = g.create()
    silent = []
    try:
        for i in range(200):
            try:
                client = Keeper("one", 5)
            except OSError:
                break
            silent.append(client)
            if i % 2:
                client.socket.sendall(HEADER.pack(1000, JSON, 0, 1) + b"{")
        equal(box.text("echo alive"), "alive")
        greedy = silent[0]
        body = json.dumps({"id": 1, "method": "exec", "version": 1,
                           "params": {"argv": ["/bin/cat", "/dev/zero"]}}).encode()
        greedy.socket.sendall(HEADER.pack(len(body), JSON, 0, 1) + body)
        equal(box.text("echo alive"), "alive")
        checkpoint = box.checkpoint()
        box.rollback(checkpoint)
        equal(box.text("echo alive"), "alive")
    finally:
        for client in silent:
            client.close()
    equal(box.text("echo alive"), "alive")


@test
def values_that_make_no_sense_are_refused(g: Ground) -> None:
    box: Box = g.create()
    for params in ({"argv": ["/bin/true"], "timeout_ms": -1},
                   {"argv": ["/bin/true"], "cwd": "relative"},
                   {"argv": ["/bin/true"], "cwd": "/no/such"},
                   {"argv": ["/bin/true"], "env": ["=x"]},
                   {"argv": ["/bin/true"], "user": "no-such-user"},
                   {"argv": [""]}, {"argv": ["/"]},
                   {"argv": ["/bin/true", "x" * (3 << 20)]}):
        try:
            done = box.keeper.call("exec", **params)
        except Refused:
            continue
        except (ConnectionError, OSError):
            box.keeper = Keeper("one")
            continue
        check(done.get("exit_code") != 0, f"{str(params)[:80]} went through: {done}")
    for body in (b'{"id": 7, "method": "exec", "version": 1, "params": {"argv": ["a\\u0000b"]}}',
                 b'{"id": 7, "method": "info", "version": 1, "params": ' + b"[" * 100000):
        with Keeper("one", 5) as keeper:
            keeper.socket.sendall(HEADER.pack(len(body), JSON, 0, 1) + body)
            check(b"error" in keeper.socket.recv(4096), f"no answer to {body[:60]!r}")
    equal(box.text("echo alive"), "alive")

"""Checkpoints whose processes are lost: their files stay, are what was saved,
and can be had; until somebody deletes them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Callable

from box import Box, Failed
from faults import adopt_orphans, descendants, template_pids
from keeper import SLOW, Refused, keeper_pid
from ground import Ground, check, equal, refused, test
from misuse import in_small_state

LOST = "processes lost, files available"

# Files of many kinds in three places; says what they are.
MAKE = """mkdir -p /w/d /usr/local/made; echo one > /w/file; ln /w/file /w/d/same
ln -s ../file /w/d/link; mkfifo /w/pipe; chmod 4711 /w/file; touch -d @1000000000 /w/d
head -c 300000 /dev/urandom > /usr/local/made/big; rm -f /etc/hostname; echo v > /vol/new; rm /vol/old
: > /w/empty; mv /w/empty /w/moved"""
LOOK = ("cd /; find w usr/local/made vol -printf '%p %M %s %T@ %l %U:%G\\n' | sort; "
        "cat w/file vol/new; md5sum < usr/local/made/big; [ w/file -ef w/d/same ]; "
        "ls etc/hostname vol/old 2>/dev/null; echo end")


def with_volume(g: Ground, name: str = "one", **env: str) -> Box:
    volume = g.top / "vol"
    volume.mkdir(exist_ok=True)
    (volume / "old").write_text("old")
    return g.create(name, "--volume", f"{volume}:/vol:cow", "--env", "KEPT=yes", "--label", "a=b",
                    env=env)


def committed(g: Ground, *checkpoints: str) -> None:
    """Wait until these are on disk."""
    end = time.monotonic() + 10 * SLOW
    while missing := set(checkpoints) - set(g.manifests()):
        if time.monotonic() > end:
            raise Failed(f"not on disk: {missing}")
        time.sleep(0.01)


def ofd_locked(fd: int) -> bool:
    """Does anybody hold a lock on the file?"""
    layout = "hhlli4x"    # struct flock
    asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    said = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack(layout, said)[0] != fcntl.F_UNLCK)


def kill_keeper(g: Ground, box: Box) -> None:
    g.boxes.remove(box)
    box.keeper.close()
    lock = Path(g.env["MULLIGAN_RUNTIME"]) / box.name / "pid"
    os.kill(keeper_pid(box.name), signal.SIGKILL)
    # its mounts go first: on a busy disk that takes a second or more
    with lock.open("r+b") as held:
        g.gone(lambda: [str(lock)] if ofd_locked(held.fileno()) else [], 30 * SLOW)


def one_node(g: Ground, name: str, checkpoint: str) -> dict[str, object]:
    nodes = g.tool.json("tree", name)["nodes"]
    return next(n for n in nodes if n["id"] == checkpoint)


def dead_one(g: Ground) -> tuple[str, str, str]:
    """A sandbox with a tagged checkpoint, whose keeper was killed: the id, and
    what its files looked like; another id."""
    box = with_volume(g)
    box.shell(MAKE)
    look = box.text(LOOK)
    box.start("/bin/sleep", "1000")
    good = box.checkpoint("good")
    box.shell("rm -rf /w/* /usr/local/made /vol/*; echo later > /w/file")
    later = box.checkpoint()
    box.shell("echo lost > /w/file")
    committed(g, good, later)
    kill_keeper(g, box)
    return good, look, later


@test
def files_of_a_dead_sandbox_are_listed_and_restored(g: Ground) -> None:
    good, look, later = dead_one(g)
    for _ in range(2):  # as it died; after gc, without a runtime directory
        lines = g.tool.run("ps", "--json").stdout.splitlines()
        info = json.loads(lines[0])
        equal((len(lines), info["name"], info["state"], info.get("head"), info.get("labels")),
              (1, "one", "dead", later, {"a": "b"}))
        node = one_node(g, "one", good)
        equal((node["label"], node["tag"], node["parent"]), ("memory lost", "good", None))
        equal(one_node(g, "one", later)["parent"], good)
        equal(g.tool.json("inspect", "one")["spec"]["env"], ["KEPT=yes"])
        check("(memory lost)" in g.tool.run("tree", "one").stdout, "the picture")
        for words in (("good",), (good[:6],), (), ("--files", good)):
            error = refused(lambda words=words: g.tool.json("rollback", "one", *words), LOST)
            check("create --from one@" in error["remedy"], str(error))
        refused(lambda: g.tool.json("rollback", "one", "nonsense"), "no checkpoint 'nonsense'")
        refused(lambda: g.tool.json("create", "one"), "kept")
        equal(set(g.collect()), {good, later})
        equal(g.runtime_names(), [])
    for source in ("one@good", f"one@{good}", good, good[:8]):
        box = Box(g.tool, g.tool.json("create", "--from", source)["name"])
        g.boxes.append(box)
        equal(box.text(LOOK), look, source)
        equal(box.text("echo $KEPT; pgrep -c sleep || true"), "yes\n0")
    # it is a whole sandbox: its checkpoints, its reset
    box.shell("echo more > /w/more")
    box.checkpoint("mine")
    box.shell("rm -rf /w")
    box.rollback("mine")
    equal(box.text("cat /w/more"), "more")
    g.tool.json("reset", box.name)
    equal(box.text(LOOK), look)
    other = g.create("other")
    refused(lambda: g.tool.json("create", "--from", "other@good"), "good")
    refused(lambda: g.tool.json("create", "--from", "nobody@good"), "nobody")
    refused(lambda: g.tool.json("create", "--from", good, "--rootfs", "/"), "from")
    # deleted, and what was made of it goes on
    equal(g.tool.run("rm", f"one@{later}").returncode, 0)
    equal(g.tool.run("gc").returncode, 0)
    equal(set(g.manifests()) & {good, later}, {good})
    equal(g.tool.run("rm", "one").returncode, 0)
    check(good not in g.manifests(), "it was deleted")
    refused(lambda: g.tool.json("tree", "one"), "one")
    equal(g.tool.run("rm", "one").returncode, 1)
    equal(box.text(LOOK), look)
    equal(other.text("echo alive"), "alive")
    for box in list(g.boxes):
        box.remove()
    g.boxes.clear()
    g.forget()


@test
def files_can_be_had_without_processes(g: Ground) -> None:
    """In a sandbox that lives: whether the processes are lost or not."""
    adopt_orphans()
    box = with_volume(g)
    box.shell(MAKE)
    look = box.text(LOOK)
    handle = box.start("/bin/sleep", "1000")
    good = box.checkpoint("good")
    for lost in (False, True):
        box.shell("rm -rf /w/* /vol/*; echo later > /w/file")
        newer = box.checkpoint()
        committed(g, good, newer)
        if lost:
            for pid in template_pids(keeper_pid("one")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            error = refused(lambda: g.tool.json("rollback", "one", "good"), LOST)
            check(f"rollback --files one {good}" in error["remedy"], str(error))
            equal(box.text("cat /w/file"), "later")
            equal(one_node(g, "one", good)["label"], "memory lost")
        done = g.tool.json("rollback", "--files", "one", "good")
        equal((done["files_of"], done["processes"]), (good, 0))
        equal(box.text(LOOK), look)
        equal(box.text("pgrep -c sleep || true"), "0")
        equal([c["state"] for c in box.keeper.call("commands")["commands"]
               if c["handle"] == handle], ["rolled_back"])
        node = one_node(g, "one", done["id"])
        equal((node["label"], node["parent"]), ("files", good))
        box.shell("echo x > /w/x")
        box.rollback()  # to where now began
        equal(box.text(LOOK), look)
        box.shell("echo y > /w/y; (exec sleep 1000) &")
        after = box.checkpoint()
        box.shell("rm /w/y; pkill sleep")
        box.rollback(after)
        equal(box.text("cat /w/y; pgrep -c sleep"), "y\n1")
    committed(g, after)
    equal(g.tool.run("rm", f"one@{good}").returncode, 0)
    box.rollback(done["id"])
    equal(box.text(LOOK), look)


def a_layer_of(g: Ground, checkpoint: str, path: str) -> Path:
    """The file in the layers of a checkpoint, in the newest that has it."""
    for mount in g.manifests()[checkpoint]["mounts"]:
        for layer in mount["layers"]:
            found = Path(g.env["MULLIGAN_STATE"]) / "layers" / layer["id"] / "fs" / path
            if found.exists():
                return found
    raise Failed(f"no layer of {checkpoint} has {path}")


def cut_short(path: Path) -> None:
    os.truncate(path, 1)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X")


def mode(path: Path) -> None:
    path.chmod(0o777)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@test
def damaged_layers_are_refused(g: Ground) -> None:
    ways: list[Callable[[Path], None]] = [cut_short, overwrite, mode, replace, os.unlink]
    for way in ways:
        box = g.create()
        box.shell("mkdir /w/d; echo good > /w/d/file; echo other > /w/other")
        good = box.checkpoint("good")
        committed(g, good)
        check("1 whole" in g.tool.run("doctor").stdout, "doctor does not see it")
        way(a_layer_of(g, good, "w/d/file"))
        error = refused(lambda: g.tool.json("rollback", "--files", "one", "good"), good, "layer")
        check(error["remedy"], str(error))
        equal(box.text("echo alive; cat /w/other"), "alive\nother", "after the refusal")
        kill_keeper(g, box)
        refused(lambda: g.tool.json("create", "two", "--from", "one@good"), good, "damaged")
        doctor = g.tool.run("doctor")
        check(f"damaged: the files of checkpoint '{good}'" in doctor.stdout, doctor.stdout)
        equal(g.tool.run("gc").returncode, 0)
        equal(g.runtime_names(), [])
        g.forget()


@test
def missing_layers_are_said_by_gc(g: Ground) -> None:
    box = g.create()
    box.shell("echo good > /w/file")
    good = box.checkpoint("good")
    box.shell("echo later > /w/later")
    later = box.checkpoint()
    committed(g, good, later)
    kill_keeper(g, box)
    layer = a_layer_of(g, later, "w/later").parent.parent.parent
    layer.rename(g.top / "taken")
    done = g.tool.run("gc")
    equal(done.returncode, 1)
    check(layer.name in done.stderr and f"rm one@{later}" in done.stderr, done.stderr)
    check(good not in done.stderr, "the other one is whole")
    refused(lambda: g.tool.json("create", "two", "--from", f"one@{later}"), "missing")
    equal(g.tool.run("rm", f"one@{later}").returncode, 0)
    equal(set(g.collect()), {good})
    two = Box(g.tool, g.tool.json("create", "two", "--from", "one@good")["name"])
    equal(two.text("cat /w/file"), "good")
    two.remove()
    g.forget()


@test
def keeper_killed_while_it_commits_leaves_whole_checkpoints(g: Ground) -> None:
    """Before the rename there is nothing of a checkpoint, after it all of it."""
    adopt_orphans()
    for stage in ("sum", "sync", "manifest"):
        box = with_volume(g, MULLIGAN_KILL_AT=stage, MULLIGAN_FAULT_WHEN="diff")
        box.shell(MAKE)
        look, when = box.text(LOOK), box.text("stat -c %.Y /w")
        first = box.checkpoint()
        committed(g, first)
        box.keeper.call("diff")
        box.shell("echo second > /w/second")
        second = box.checkpoint()
        g.boxes.remove(box)
        box.keeper.close()
        g.gone(descendants)
        kept = g.collect()
        equal(set(kept), {first, second} if stage == "manifest" else {first}, stage)
        for checkpoint in kept:
            new = Box(g.tool, g.tool.json("create", "new", "--from", checkpoint)["name"])
            equal(new.text("cat /w/second || true"), "second" if checkpoint == second else "")
            new.shell(f"rm -f /w/second; touch -d @{when} /w")
            equal(new.text(LOOK), look, stage)
            new.remove()
        g.forget()


@test
def checkpoint_on_a_full_disk_is_written_once_there_is_room(g: Ground) -> None:
    state = g.env["MULLIGAN_STATE"]
    log = f"{g.env['MULLIGAN_RUNTIME']}/one/log"
    out = in_small_state(g, "16m", f"""
        m create one >/dev/null || exit 9
        m exec one -- sh -c 'mkdir /w; echo kept > /w/kept'
        first=$(m checkpoint one) || exit 8
        m exec one -- sh -c 'echo more > /w/more'
        for i in $(seq 100); do [ -e {state}/checkpoints/$first.json ] && break; sleep 0.05; done
        head -c 64m /dev/zero > {state}/fill 2>/dev/null
        second=$(m checkpoint one 2>/dev/null) && echo "second taken"
        sleep 0.5; ls -A {state}/checkpoints | sed "s/$first/first/; s/$second/second/"
        grep -c what=commit {log}
        rm {state}/fill
        second=${{second:-$(m checkpoint one)}}
        for i in $(seq 100); do [ -e {state}/checkpoints/$second.json ] && break; sleep 0.05; done
        ls -A {state}/checkpoints | wc -l
        kill -9 $(cat {g.env['MULLIGAN_RUNTIME']}/one/pid); sleep 0.3
        m create two --from one@$second >/dev/null && m exec two -- cat /w/kept /w/more
        m rm --all; ls -A {state}/checkpoints {state}/layers""")
    check(out.endswith(f"2\nkept\nmore\n{state}/checkpoints:\n\n{state}/layers:\n"), out)
    if "second taken" in out:
        check(out.startswith("second taken\nfirst.json\n"), out)
        check(out.split("\n")[2] != "0", "the failure is not in the log")
    g.gone(g.processes)


@test
def gc_at_once_with_gc_and_with_living_keepers(g: Ground) -> None:
    """What lives is not touched, what is kept is whole, what is left goes."""
    good, look, later = dead_one(g)
    box = g.create("alive")
    box.shell("echo 0 > /w/n")
    twin = g.fork(box, box.checkpoint(), 1)[0]
    dead = g.create("bare")  # no checkpoint: nothing of it is kept
    kill_keeper(g, dead)
    running = [subprocess.Popen([g.tool.path, "gc"], env=g.tool.env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ids = []
    for n in range(10):
        for one in (box, twin):
            one.shell(f"echo {n} > /w/n")
            ids.append((one, one.checkpoint(), n))
    for gc in running:
        _, words = gc.communicate(timeout=60 * SLOW)
        equal((gc.returncode, words), (0, ""))
    for one, checkpoint, n in ids[::3]:
        one.rollback(checkpoint)
        equal(one.text("cat /w/n"), str(n))
    committed(g, *(checkpoint for _, checkpoint, _ in ids))
    kill_keeper(g, box)
    g.tool.run("gc")
    names = {json.loads(line)["name"]: json.loads(line)["state"]
             for line in g.tool.run("ps", "--json").stdout.splitlines()}
    equal(names, {"one": "dead", "alive": "dead", twin.name: "running"})
    for one, checkpoint, n in ids[-2:]:
        new = Box(g.tool, g.tool.json("create", "--from", f"alive@{checkpoint}")["name"])
        equal(new.text("cat /w/n"), str(n))
        new.remove()
    twin.rollback(ids[1][1])
    equal(twin.text("cat /w/n"), "0")
    # the dead one goes; its family lives, and its checkpoints with it
    equal(g.tool.run("rm", "alive").returncode, 0)
    check(ids[0][1] in g.manifests(), "the family has it")
    twin.remove()
    g.boxes.remove(twin)
    equal(set(g.collect()), {good, later})
    new = Box(g.tool, g.tool.json("create", "--from", good)["name"])
    equal(new.text(LOOK), look)
    new.remove()
    g.forget()


@test
def sandbox_of_an_owner_is_not_kept(g: Ground) -> None:
    owner = subprocess.Popen(
        ["/bin/sh", "-c", '"$0" create one --die-with-parent && read x', g.tool.path],
        env=g.tool.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin and owner.stdout
    equal(owner.stdout.readline(), "one\n")
    box = Box(g.tool, "one")
    g.boxes.append(box)
    box.shell("echo x > /etc/x")
    committed(g, box.checkpoint())
    kill_keeper(g, box)
    owner.stdin.close()
    owner.wait()
    equal(g.collect(), {})
    g.forget()


@test
def keeper_that_is_terminated_leaves_the_files(g: Ground) -> None:
    """As when the machine goes down. What was never a checkpoint goes."""
    box = g.create()
    box.shell("echo x > /w/x")
    good = box.checkpoint("good")
    g.create("bare")
    for name in ("one", "bare"):
        os.kill(keeper_pid(name), signal.SIGTERM)
    for one in g.boxes:
        one.keeper.close()
    g.boxes.clear()
    g.gone(g.processes)
    equal(g.runtime_names(), [])
    equal(set(g.collect()), {good})
    new = Box(g.tool, g.tool.json("create", "new", "--from", "one@good")["name"])
    equal(new.text("cat /w/x"), "x")
    new.remove()
    g.forget()


@test
def gc_goes_on_after_what_is_not_ours(g: Ground) -> None:
    """A foreign entry in the place of a dead one is told, and the rest goes."""
    for name in ("aaa", "one", "zzz"):
        box = g.create(name)
        kill_keeper(g, box)
    place = Path(g.env["MULLIGAN_RUNTIME"]) / "one"
    (place / "link").symlink_to("/etc")
    for command in (["gc"], ["rm", "one"], ["rm", "--all"]):
        done = g.tool.run(*command)
        equal(done.returncode, 1, str(command))
        check("'one'" in done.stderr, done.stderr)
        equal(g.runtime_names(), ["one"])
        equal(g.layers(), set())
    (place / "link").unlink()
    equal(g.tool.run("gc").returncode, 0)
    equal(g.runtime_names(), [])


@test
def arguments_that_are_not_utf8_are_refused(g: Ground) -> None:
    g.create()
    bad = b"\xff\xfe"
    for words in ([b"create", b"two", b"--workdir", b"/" + bad], [b"create", b"two", b"--user", bad],
                  [b"create", b"two", b"--rootfs", b"/" + bad], [b"create", b"two", b"--env", bad],
                  [b"create", b"two", b"--from", bad], [b"checkpoint", b"one", b"-t", bad],
                  [b"rollback", b"one", bad], [b"exec", b"one", b"-w", b"/" + bad, b"--", b"ls"],
                  [b"exec", b"one", b"-u", bad, b"--", b"ls"], [b"diff", b"one", bad],
                  [b"fork", b"one@" + bad], [b"cp", b"one:/" + bad, b"/tmp/x"]):
        done = subprocess.run([g.tool.path.encode(), *words], env=g.tool.env, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=20 * SLOW)
        equal(done.returncode, 2, f"{words}: {done.stderr!r}")
        check(b"UTF-8" in done.stderr, f"{words}: {done.stderr!r}")
    equal(g.runtime_names(), ["one"])

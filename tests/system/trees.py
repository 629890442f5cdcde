"""Checkpoints, rollback, fork, diff and what they promise."""

from __future__ import annotations

import threading
from typing import Any

from keeper import Keeper, Refused
from ground import Ground, check, equal, refused, test

COUNT = "n=0; while :; do n=$((n+1)); echo $n > /w/n.new; mv /w/n.new /w/n; sleep 0.002; done"


@test
def rollback_restores_files_and_processes_together(g: Ground) -> None:
    box = g.create()
    handle = box.start("/bin/sh", "-c", COUNT)
    box.shell("until [ -s /w/n ]; do sleep 0.01; done; echo kept > /w/kept; mkdir /w/d")
    before = box.text("pgrep -o sh; ps -o ppid=,sid=,args= -p $(pgrep -o sh)")
    checkpoint = box.checkpoint("base")
    value = int(box.text("cat /w/n"))
    box.shell("rm -rf /w/kept /w/d; echo new > /w/new; echo bad > /etc/hostname")
    box.shell("kill -9 -1", check=False)
    box.rollback("base")
    equal(box.text("cat /w/kept; ls -d /w/d; ls /w/new 2>&1 | grep -c 'No such'"),
          "kept\n/w/d\n1")
    check(int(box.text("cat /w/n")) < value + 500, "the counter is ahead of the checkpoint")
    equal(box.text("pgrep -o sh; ps -o ppid=,sid=,args= -p $(pgrep -o sh)"), before)
    first = int(box.text("cat /w/n"))
    box.shell(f"until [ $(cat /w/n) -gt {first + 3} ]; do sleep 0.01; done")
    equal(box.keeper.call("commands")["commands"][0]["handle"], handle)
    equal(box.rollback(checkpoint)["id"], checkpoint)


@test
def checkpoint_does_not_change_pids_or_children(g: Ground) -> None:
    box = g.create()
    box.start("/bin/bash", "-c", "sleep 1000 & sleep 1000 & echo $$ > /w/pid; wait")
    look = "ps -e -o pid,ppid,pgid,sid,comm --no-headers | grep -e sleep -e bash"
    box.shell("until [ -s /w/pid ]; do sleep 0.01; done; sleep 0.05")
    before = box.text(look)
    checkpoint = box.checkpoint()
    equal(box.text(look), before)
    box.rollback(checkpoint)
    equal(box.text(look), before)


@test
def rollback_without_argument_goes_to_the_newest_ancestor(g: Ground) -> None:
    box = g.create()
    box.shell("echo 1 > /w/f")
    first = box.checkpoint()
    box.shell("echo 2 > /w/f")
    second = box.checkpoint()
    box.shell("echo 3 > /w/f")
    equal(box.rollback()["id"], second)
    equal(box.text("cat /w/f"), "2")
    box.rollback(first)
    equal(box.text("cat /w/f"), "1")
    equal(box.rollback()["id"], first)


@test
def tree_names_parents_tags_and_head(g: Ground) -> None:
    box = g.create()
    a = box.checkpoint("a")
    b = box.checkpoint("b")
    box.rollback(a)
    c = box.checkpoint("c")
    tree = g.tool.json("tree", "one")
    nodes = {node["id"]: node for node in tree["nodes"]}
    equal(nodes[b]["parent"], a)
    equal(nodes[c]["parent"], a)
    equal(nodes[c]["tag"], "c")
    equal(tree["head"], c)


@test
def reset_goes_back_to_the_creation(g: Ground) -> None:
    box = g.create()
    box.shell("echo x > /root/file 2>/dev/null || echo x > /tmp/file")
    box.start("/bin/sleep", "1000")
    box.checkpoint()
    g.tool.json("reset", "one")
    equal(box.text("ls -d /w /root/file /tmp/file 2>/dev/null | wc -l"), "0")
    equal(box.text("ps -e -o comm --no-headers | grep -c sleep || true"), "0")


@test
def deleted_checkpoint_is_gone_and_its_child_stays(g: Ground) -> None:
    box = g.create()
    box.shell("echo 1 > /w/f")
    first = box.checkpoint("first")
    box.shell("echo 2 > /w/g")
    second = box.checkpoint("second")
    done = g.tool.run("rm", "one@first")
    equal(done.returncode, 0, done.stderr)
    refused(lambda: box.rollback(first))
    box.shell("rm /w/f /w/g")
    box.rollback(second)
    equal(box.text("cat /w/f /w/g"), "1\n2")


@test
def diff_lists_added_modified_deleted(g: Ground) -> None:
    box = g.create()
    box.shell("cd /w; echo 1 > changed; echo 1 > deleted; mkdir dir; echo 1 > dir/same")
    before = box.checkpoint()
    box.shell("cd /w; echo 22 > changed; rm deleted; echo 1 > added; chmod 600 dir/same")
    after = box.checkpoint()

    def changes(*args: str) -> dict[str, str]:
        files = g.tool.json("diff", "one", *args)["files"]
        return {f["path"]: f["change"] for f in files if f["path"].startswith("/w/")}

    want = {"/w/changed": "M", "/w/deleted": "D", "/w/added": "A", "/w/dir/same": "M"}
    equal(changes(before, after), want)
    equal(changes(after), {})
    box.shell("rm /w/added")
    equal(changes(), {"/w/added": "D"})


@test
def forks_are_separate_and_can_be_told_apart(g: Ground) -> None:
    box = g.create()
    box.shell("echo common > /w/f")
    checkpoint = box.checkpoint()
    twins = g.fork(box, checkpoint, 3)
    for i, twin in enumerate(twins):
        equal(twin.text("cat /w/f"), "common")
        twin.shell(f"echo {i} > /w/f")
    equal([twin.text("cat /w/f") for twin in twins], ["0", "1", "2"])
    equal(box.text("cat /w/f"), "common")
    everyone = [box, *twins]
    equal(len({b.text("hostname") for b in everyone}), 4, "host names")
    equal(len({b.text("cat /run/mulligan/generation") for b in everyone}), 4, "generations")


@test
def generation_changes_at_rollback(g: Ground) -> None:
    box = g.create()
    checkpoint = box.checkpoint()
    seen = {box.text("cat /run/mulligan/generation")}
    for _ in range(3):
        box.rollback(checkpoint)
        seen.add(box.text("cat /run/mulligan/generation"))
    equal(len(seen), 4)


@test
def forks_outlive_their_parent(g: Ground) -> None:
    box = g.create()
    box.shell("echo common > /w/f")
    checkpoint = box.checkpoint()
    twins = g.fork(box, checkpoint, 2)
    g.boxes.remove(box)
    box.remove()
    for twin in twins:
        own = twin.checkpoint()
        twin.shell("rm /w/f; kill -9 -1", check=False)
        twin.rollback(own)
        equal(twin.text("cat /w/f"), "common")
        twin.rollback(checkpoint)
        equal(twin.text("cat /w/f"), "common")


@test
def cow_volume_is_rolled_back_and_the_source_untouched(g: Ground) -> None:
    source = g.top / "source"
    source.mkdir()
    (source / "file").write_text("original")
    box = g.create("one", "--volume", f"{source}:/vol:cow")
    box.shell("echo changed > /vol/file; echo new > /vol/new")
    checkpoint = box.checkpoint()
    box.shell("rm -rf /vol/*")
    box.rollback(checkpoint)
    equal(box.text("cat /vol/file /vol/new"), "changed\nnew")
    equal((source / "file").read_text(), "original")
    check(not (source / "new").exists(), "the source was written to")


@test
def rw_volume_is_shared_and_outside_the_cut(g: Ground) -> None:
    source = g.top / "source"
    source.mkdir()
    source.chmod(0o777)
    box = g.create("one", "--volume", f"{source}:/vol:rw")
    checkpoint = box.checkpoint()
    box.shell("echo kept > /vol/file")
    box.rollback(checkpoint)
    equal(box.text("cat /vol/file"), "kept")
    equal((source / "file").read_text(), "kept\n")


@test
def ro_volume_cannot_be_written(g: Ground) -> None:
    source = g.top / "source"
    source.mkdir()
    box = g.create("one", "--volume", f"{source}:/vol:ro")
    done = box.shell("echo no > /vol/file", check=False)
    check(done["exit_code"] != 0, "a read-only volume was written to")


@test
def two_checkpoints_at_once_are_both_whole_or_refused(g: Ground) -> None:
    box = g.create()
    box.start("/bin/sh", "-c", COUNT)
    box.shell("until [ -s /w/n ]; do sleep 0.01; done")
    results: list[Any] = []

    def take() -> None:
        with Keeper("one") as keeper:
            try:
                results.append(keeper.call("checkpoint")["id"])
            except Refused as refusal:
                results.append(refusal.error["cause"])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(len(results), 4)
    known = {node["id"] for node in g.tool.json("tree", "one")["nodes"]}
    taken = [r for r in results if r in known]
    check(taken, f"no checkpoint was taken: {results}")
    for checkpoint in taken:
        box.rollback(checkpoint)
        first = int(box.text("cat /w/n"))
        box.shell(f"until [ $(cat /w/n) -gt {first} ]; do sleep 0.01; done")


@test
def clean_sandbox_checkpoints_without_a_layer(g: Ground) -> None:
    box = g.create()
    box.checkpoint()
    again = g.tool.json("checkpoint", "one")
    equal(again["files_changed"], 0)
    equal(again["layer_bytes"], 0)


@test
def look_at_oneself_only_delays_a_checkpoint(g: Ground) -> None:
    """What programs have open of /proc for a moment, closefrom(3) for one."""
    box = g.create()
    handle = box.start("/usr/bin/python3", "-Sc",
                       "import os, time\n"
                       "print('begun', flush=True)\n"
                       "while not os.path.exists('/w/go'):\n"
                       "    fds = [os.open('/proc/self/' + n, os.O_RDONLY) for n in ('fd', 'maps')]\n"
                       "    time.sleep(0.001)\n"
                       "    for fd in fds: os.close(fd)\n"
                       "    time.sleep(0.002)\n")
    box.await_output(handle, "begun\n")
    for _ in range(10):
        box.checkpoint()
    box.rollback()
    box.shell("touch /w/go")
    equal(box.wait(handle)["exit_code"], 0)

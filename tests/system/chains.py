"""Long chains of checkpoints, whose layers are merged behind them.

Every checkpoint has changed files; a record of all that can be seen is kept
outside, and each rollback must bring back exactly that.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path

from box import Box, Failed
from faults import adopt_orphans, check_guest, descendants, layers, start_guest
from ground import Ground, Skip, check, equal, test

# Changes /w/t by chance, a seed's worth, and prints what is there then.
# Without a seed it prints only.
LOOK = r"""
import hashlib, os, random, shutil, stat, sys
TOP = "/w/t"
def any_path(r):
    return "/".join([TOP] + [r.choice(("a", "b", "c", "d")) for _ in range(r.randint(1, 3))])
def write(r, a, b):
    with open(a, "w") as f: f.write(str(r.random()) * r.randint(1, 200))
def append(r, a, b):
    with open(a, "r+") as f: f.seek(0, 2); f.write("+")
def sparse(r, a, b):
    fd = os.open(a, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW)
    os.pwrite(fd, b"far", 3 << 20); os.close(fd)
def remove(r, a, b):
    shutil.rmtree(a) if os.path.isdir(a) and not os.path.islink(a) else os.unlink(a)
def chown(r, a, b):
    os.lchown(a, *((r.randint(0, 3), r.randint(0, 3)) if MANY else (0, 0)))
CHANGES = [write, write, write, append, sparse, remove, chown,
    lambda r, a, b: os.mkdir(a, 0o700 + r.randint(0, 63)),
    lambda r, a, b: os.mkdir(a),
    lambda r, a, b: os.rename(a, b),
    lambda r, a, b: os.rename(a, b),
    lambda r, a, b: os.link(a, b, follow_symlinks=False),
    lambda r, a, b: os.symlink(b, a),
    lambda r, a, b: os.mkfifo(a),
    lambda r, a, b: os.chmod(a, r.randint(0, 0o7777) | 0o600) if not os.path.islink(a) else None,
    lambda r, a, b: os.utime(a, ns=(r.randint(0, 10**18), r.randint(0, 10**18)),
                             follow_symlinks=False),
    lambda r, a, b: os.setxattr(a, f"user.{r.randint(0, 2)}", os.urandom(5)),
]
IDS = open("/proc/self/uid_map").read().split()
MANY = len(IDS) > 3 or int(IDS[2]) > 10
# Without root overlayfs shows a live file that came from a lower layer and got
# a second name under two numbers, until the next checkpoint.
NUMBERS = IDS[2] == "4294967295"
if len(sys.argv) > 1:
    r = random.Random(int(sys.argv[1]))
    os.makedirs(TOP, exist_ok=True)
    for _ in range(25):
        a, b = any_path(r), any_path(r)
        if os.path.exists(a) and not (os.path.isfile(a) or os.path.isdir(a)): continue
        try: r.choice(CHANGES)(r, a, b)
        except OSError: pass
seen = {}
def show(path):
    st = os.lstat(path)
    what = [path, oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev, st.st_mtime_ns]
    if stat.S_ISLNK(st.st_mode): what.append(os.readlink(path))
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as f: body = f.read()
        what += [st.st_size, hashlib.sha256(body).hexdigest(), st.st_blocks * 1024 < st.st_size]
    if not stat.S_ISDIR(st.st_mode):
        what += [st.st_nlink, NUMBERS and seen.setdefault(st.st_ino, path)]
    if stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode):
        what += [(n, os.getxattr(path, n).hex()) for n in sorted(os.listxattr(path))]
    print(*what)
for top in (TOP, "/etc", "/root"):
    show(top)
    for folder, dirs, names in os.walk(top):
        dirs.sort()
        for name in sorted(dirs + names): show(os.path.join(folder, name))
"""

# Goes on over all of it: its log is open for writing, its book for reading.
HEART = r"""
import os, signal, time
log = os.open("/w/log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
book = os.open("/w/book", os.O_RDONLY)
n = 0
def beat(*_):
    global n
    n += 1
    os.write(log, b"%d\n" % n)
    same = os.fstat(log).st_ino == os.stat("/w/log").st_ino and \
        os.fstat(book).st_ino == os.stat("/w/book").st_ino
    if not same or os.pread(book, 99, 0) != b"book": os.write(log, b"bad\n")
signal.signal(signal.SIGUSR1, beat)
open("/w/pid", "w").write(str(os.getpid()))
os.rename("/w/pid", "/w/up")
while True: signal.pause()
"""


def look(box: Box, seed: int | None = None) -> str:
    """Change what is inside, or only look."""
    done = box.keeper.call("exec", argv=["/usr/bin/python3", "-Sc", LOOK] +
                           ([str(seed)] if seed is not None else []), timeout_ms=60000)
    if done["exit_code"] != 0:
        raise Failed(done["stderr"].decode(errors="replace"))
    return str(done["stdout"].decode())


def first_difference(have: str, want: str) -> str:
    for a, b in zip(have.splitlines(), want.splitlines()):
        if a != b:
            return f"have {a}, want {b}"
    return f"{len(have)} against {len(want)} characters"


class Chain:
    """A sandbox, its checkpoints, and what each must look like."""

    def __init__(self, g: Ground, most: int | None, name: str = "one", **more: str) -> None:
        env = dict(more) if most is None else {"MULLIGAN_MERGE_CHAIN": str(most), **more}
        self.box = g.create(name, env=env)
        self.ids: list[str] = []
        self.records: list[str] = []
        self.beats: list[int] = []
        self.times: list[float] = []
        self.box.shell("echo -n book > /w/book")
        self.box.start("/usr/bin/python3", "-Sc", HEART)
        self.box.shell("while ! [ -e /w/up ]; do sleep 0.01; done")

    def beat(self, times: int = 1) -> list[str]:
        """Let the process in there write, and read all it wrote."""
        n = len(self.log())
        for i in range(times):
            self.box.shell("kill -USR1 $(cat /w/up); "
                           f"while [ $(wc -l < /w/log) -lt {n + i + 1} ]; do sleep 0.005; done")
        return self.log()

    def log(self) -> list[str]:
        return self.box.text("cat /w/log").split()

    def grow(self, n: int, rng: random.Random) -> None:
        for _ in range(n):
            record = look(self.box, rng.randrange(1 << 30))
            if len(self.ids) % 10 == 0:
                self.beat()
            began = time.monotonic()
            done = self.box.keeper.call("checkpoint")
            self.times.append(time.monotonic() - began)
            self.ids.append(str(done["id"]))
            self.records.append(record)
            self.beats.append(len(self.log()) if len(self.ids) % 10 == 1 else self.beats[-1])

    def verify(self, i: int) -> None:
        self.box.keeper.call("rollback", checkpoint=self.ids[i])
        have = look(self.box)
        check(have == self.records[i],
              f"checkpoint {i}: {first_difference(have, self.records[i])}")

    def verify_process(self, i: int) -> None:
        """Of one that verify() has rolled back to."""
        log = self.beat()
        equal(log, [str(k + 1) for k in range(self.beats[i] + 1)], f"checkpoint {i}: log")

    def merges(self) -> dict[str, int]:
        return dict(self.box.keeper.call("inspect")["merges"])

    def settle(self) -> dict[str, int]:
        """Wait until nothing is merged any more."""
        end = time.monotonic() + 60
        quiet = 0
        while quiet < 5:
            merges = self.merges()
            quiet = 0 if merges["running"] else quiet + 1
            check(time.monotonic() < end, f"merging does not end: {merges}")
            time.sleep(0.02)
        return merges


@test
def merged_chain_rolls_back_exactly(g: Ground) -> None:
    """To each of 60 checkpoints, on a stack that is kept at about 6 layers."""
    rng = random.Random(int(os.environ.get("MULLIGAN_TEST_SEED", "1")))
    chain = Chain(g, 6)
    chain.grow(60, rng)
    merges = chain.settle()
    check(merges["done"] >= 15 and merges["layers"] <= 16 and not merges["failed"], str(merges))
    order = list(range(60))
    rng.shuffle(order)
    for i in order:
        chain.verify(i)
        if i % 7 == 0:
            chain.verify_process(i)
    # on from the middle: another branch, merged with the same past
    chain.verify(30)
    chain.ids, chain.records, chain.beats = chain.ids[:31], chain.records[:31], chain.beats[:31]
    chain.grow(15, rng)
    chain.settle()
    for i in (0, 15, 29, 30, 31, 38, 45):
        chain.verify(i)
    chain.box.remove()
    g.boxes.clear()
    equal(layers(g), [], "layers")


def compare_with_short(g: Ground, chain: Chain, rng: random.Random) -> None:
    """Print what a checkpoint of a long chain costs as against one of a short
    chain. In turn, so that what else the machine does meets both."""
    short = Chain(g, None, "short")
    depth = len(chain.ids)
    short.grow(10, rng)
    for _ in range(30):
        short.grow(1, rng)
        chain.grow(1, rng)
    long_ms, short_ms = (1000 * statistics.median(c.times[-30:]) for c in (chain, short))
    print(f"# checkpoint p50 as the client sees it, 30 each in turn: depth 10: {short_ms:.2f} ms, "
          f"depth {depth}: {long_ms:.2f} ms ({long_ms / short_ms:.2f}); {chain.merges()}", flush=True)
    short.box.remove()
    g.boxes.remove(short.box)


@test
def thousand_checkpoints_in_a_row(g: Ground) -> None:
    """With --all 1000 and each is rolled back to; else 120 of which some are."""
    every = bool(os.environ.get("MULLIGAN_TEST_ALL"))
    n = 970 if every else 90
    rng = random.Random(2)
    chain = Chain(g, None)
    chain.grow(n, rng)
    merges = chain.settle()
    check(merges["layers"] <= 40 and not merges["failed"], str(merges))
    compare_with_short(g, chain, rng)
    check(chain.settle()["layers"] <= 40, str(chain.merges()))
    n = len(chain.ids)
    for i in rng.sample(range(n), n if every else 20):
        chain.verify(i)
        if i % 50 == 0:
            chain.verify_process(i)
    # as many records to remove as there are checkpoints, each for good
    chain.box.keeper.close()
    equal(g.tool.run("rm", "one", timeout_s=120).returncode, 0, "rm")
    g.boxes.clear()
    equal(layers(g), [], "layers")


@test
def keeper_killed_in_a_merge_leaves_nothing(g: Ground) -> None:
    adopt_orphans()
    for stage in ["merge-layer", "merge-fork", "merge-report", "merge-switch"]:
        box = g.create("one", env={"MULLIGAN_KILL_AT": stage, "MULLIGAN_MERGE_CHAIN": "3"})
        start_guest(box)
        for i in range(20):
            box.tool.run("exec", "one", "--", "sh", "-c", f"head -c 300000 /dev/urandom > /w/{i}")
            if g.tool.run("checkpoint", "one").returncode:
                break
            time.sleep(0.05)
        else:
            raise Failed(f"{stage}: it was not killed")
        box.keeper.close()
        g.boxes.clear()
        g.gone(descendants)
        kept = g.collect()
        equal(g.runtime_names(), [], f"{stage}: names")
        # whole, whether merged or not: one that was, one that may have been
        check(f"{len(kept)} whole" in g.tool.run("doctor").stdout, f"{stage}: not all are whole")
        for made in sorted(kept.values(), key=lambda m: m["created_ns"])[1::2]:
            new = Box(g.tool, g.tool.json("create", "new", "--from", made["id"])["name"])
            names = new.text("cd /w && ls | grep '^[0-9]' | sort -n").split()
            equal(names, [str(n) for n in range(len(names))], f"{stage}: {made['id']}")
            check(names, f"{stage}: no files")
            new.remove()
        g.forget()


@test
def merge_on_a_full_disk_is_given_up_and_tried_again(g: Ground) -> None:
    if os.geteuid() != 0:
        raise Skip("mounting a small tmpfs needs root")
    state = g.env["MULLIGAN_STATE"]
    if os.system(f"mount -t tmpfs -o size=24m none {state}") != 0:
        raise Skip("no tmpfs can be mounted here")
    try:
        chain = Chain(g, 6)
        box = chain.box
        box.shell("head -c 6000000 /dev/urandom > /w/big")
        chain.records.append(look(box, 7))
        chain.ids.append(box.checkpoint())
        chain.beats.append(0)
        box.shell("head -c 6000000 /dev/urandom > /w/ballast")
        chain.grow(9, random.Random(3))
        check(chain.settle()["failed"] >= 1, f"nothing failed: {chain.merges()}")
        log = (Path(g.env["MULLIGAN_RUNTIME"]) / "one" / "log").read_text()
        check("what=merge code=ENOSPC" in log, log)
        # it holds its own, and no more than that: there is room as before
        box.shell("head -c 2000000 /dev/urandom > /w/more && rm /w/more")
        for i in range(10):
            chain.verify(i)
        before = chain.merges()
        # with room it comes to pass
        os.system(f"mount -o remount,size=240m {state}")
        chain.grow(8, random.Random(4))
        after = chain.settle()
        check(after["done"] > before["done"], f"{before}, then {after}")
        for i in range(len(chain.ids)):
            chain.verify(i)
        box.remove()
        g.boxes.clear()
    finally:
        g.tool.run("rm", "--all")
        os.system(f"umount -l {state}")


@test
def forks_merge_and_collect_when_the_first_is_killed(g: Ground) -> None:
    """Each keeper of a family switches only itself; what they share stays."""
    adopt_orphans()
    every = bool(os.environ.get("MULLIGAN_TEST_ALL"))
    for stage in ["merge-fork", "copy", "swap", "merge-switch"] if every else ["merge-fork"]:
        box = g.create("one", env={"MULLIGAN_MERGE_CHAIN": "6", "MULLIGAN_KILL_AT": stage,
                                   "MULLIGAN_FAULT_WHEN": "diff"})
        start_guest(box)
        ids, records = [], []
        for seed in range(5):
            records.append(look(box, seed))
            ids.append(box.checkpoint())
        g.tool.json("fork", "one", "-n", "4")
        names = [f"one-{i}" for i in range(1, 5)]
        # from here on it dies at that stage, while the others go on
        g.tool.run("diff", "one", ids[0])
        twins = [Box(g.tool, name) for name in names]
        past: dict[str, list[tuple[str, str]]] = {name: list(zip(ids, records)) for name in names}
        for step in range(8):
            g.tool.run("exec", "one", "--", "sh", "-c", f"echo {step} > /w/t/one")
            g.tool.run("checkpoint", "one")
            for k, twin in enumerate(twins):
                record = look(twin, 100 * k + step)
                past[twin.name].append((twin.checkpoint(), record))
            if step % 4 == 3:
                done = g.tool.run("gc")
                equal(done.returncode, 0, f"gc: {done.stderr}")
        check("one" not in g.runtime_names(), f"{stage}: it was not killed")
        for twin in twins:
            merges = twin.keeper.call("inspect")["merges"]
            check(merges["done"] >= 2, f"{twin.name}: {merges}")
            for checkpoint, record in past[twin.name][::1 if every else 3]:
                twin.rollback(checkpoint)
                have = look(twin)
                check(have == record, f"{stage}, {twin.name}: {first_difference(have, record)}")
            check_guest(g.tool, twin.name, f"fork of one killed after {stage}")
            twin.keeper.close()
        box.keeper.close()
        g.boxes.clear()
        equal(g.tool.run("rm", "--all").returncode, 0, "rm")
        g.gone(descendants)
        g.tool.run("gc")
        equal(layers(g), [], f"{stage}: layers")

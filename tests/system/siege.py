"""Processes that are as hard to save as can be (tests/guests/hostile.c).

Each is saved whole or refused by name, goes on unharmed either way, and a
rollback to an older checkpoint brings back exactly what that was.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import Callable

from box import Box, Failed
from keeper import Refused
from ground import Ground, check, equal, test

AT_MOST_S = 10      # a checkpoint or a rollback, whatever the guest does

# Prints what is inside: files, processes with their descriptors, and the sum
# of the heart's memory.
LOOK = r"""
import hashlib, os, stat, sys, time
def files(top, times=True):
    for folder, dirs, names in os.walk(top):
        dirs.sort()
        for name in sorted(dirs + names):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            body = os.readlink(path) if stat.S_ISLNK(st.st_mode) else ""
            if stat.S_ISREG(st.st_mode) and times:
                body = hashlib.sha256(open(path, "rb").read()).hexdigest()
            yield (path, oct(st.st_mode), st.st_uid, st.st_gid, st.st_rdev,
                   0 if stat.S_ISDIR(st.st_mode) else st.st_nlink, body,
                   st.st_mtime_ns if times else 0)
def fds(pid):
    for fd in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
        link = "deleted" if "(deleted)" in link else link.split(":")[0]
        info = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/fdinfo/{fd}")
                    if line.startswith(("pos", "flags")))
        yield fd, link, info["pos"], oct(int(info["flags"], 8) & ~0o100000)
def processes():
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        if int(pid) in (1, os.getpid()): continue
        stat_, comm = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split(), \
            open(f"/proc/{pid}/comm").read()
        yield (pid, comm, stat_[1:4], os.listdir(f"/proc/{pid}/task"), list(fds(pid)),
               os.readlink(f"/proc/{pid}/cwd"), open(f"/proc/{pid}/cmdline").read())
def heart():
    open("/w/ask", "w").close()
    for _ in range(1000):
        if os.path.exists("/w/answer"):
            answer = open("/w/answer").read()
            os.unlink("/w/answer")
            return answer
        time.sleep(0.005)
    return "the heart does not answer"
for line in processes(): print("process", line)
print("heart", heart())
if os.path.exists("/w/ask"): os.unlink("/w/ask")
os.utime("/w", (1, 1))
for top in ("/w", "/etc", "/root"):
    print(top, oct(os.stat(top).st_mode))
    for line in files(top): print(line)
for top in ("/dev", "/tmp"):
    print(top, oct(os.stat(top).st_mode))
    for line in files(top, False): print(line)
print(sorted(os.listdir("/")), os.readlink("/bin"), os.stat("/usr/bin/env").st_size)
"""

# Holds memory, an open file that has no name any more and a half full pipe.
HEART = r"""
import hashlib, os, time
memory = bytearray(os.urandom(1 << 20))
nameless = os.open("/w/nameless", os.O_RDWR | os.O_CREAT)
os.unlink("/w/nameless")
os.write(nameless, os.urandom(5000))
ends = os.pipe()
os.write(ends[1], os.urandom(5000))
os.mkfifo("/w/fifo")
os.symlink("../etc/passwd", "/w/link")
open("/w/up", "w").write("up")
while True:
    if os.path.exists("/w/ask"):
        in_pipe = os.read(ends[0], 8192)
        os.write(ends[1], in_pipe)
        whole = bytes(memory) + os.pread(nameless, 8192, 0) + in_pipe
        open("/w/answer.new", "w").write(hashlib.sha256(whole).hexdigest())
        os.unlink("/w/ask")
        os.rename("/w/answer.new", "/w/answer")
    time.sleep(0.005)
"""


def look(box: Box) -> list[str]:
    """What is inside, by LOOK."""
    done = box.keeper.call("exec", argv=["/usr/bin/python3", "-c", LOOK], timeout_ms=20000)
    if done["exit_code"] != 0:
        raise Failed(f"cannot look: {done['stderr'].decode()[-400:]}")
    return str(done["stdout"].decode(errors="replace")).splitlines()


def same(have: list[str], want: list[str]) -> None:
    """Both looks are equal, or the first difference, from where it begins."""
    gone = "".join(line for line in want if line not in have)
    new = "".join(line for line in have if line not in want)
    if gone or new:
        at = max(0, len(os.path.commonprefix([gone, new])) - 60)
        raise Failed(f"after rollback {new[at:at + 200]!r}, before {gone[at:at + 200]!r}")


class Hold:
    """A sandbox with a heart, its checkpoint and what it looked like."""

    def __init__(self, g: Ground, name: str = "one", *options: str) -> None:
        self.g = g
        self.box = g.create(name, "--volume", f"{g.build}/tests/guests:/guests:ro", *options)
        self.box.start("/usr/bin/python3", "-c", HEART)
        self.box.shell("until [ -s /w/up ]; do sleep 0.01; done; mkdir -p /w/d/e; "
                       "echo kept > /w/d/e/kept; chmod 2750 /w/d; ln /w/d/e/kept /w/hard")
        self.outside = outside()
        self.want = look(self.box)
        self.checkpoint = self.box.checkpoint()

    def restored(self) -> None:
        """Roll back; all inside is as it was and nothing outside has changed."""
        begin = time.monotonic()
        self.box.rollback(self.checkpoint)
        check(time.monotonic() - begin < AT_MOST_S, "the rollback was slow")
        same(look(self.box), self.want)
        equal(outside(), self.outside, "outside the sandbox")


def outside() -> list[str]:
    """What must not change on the host."""
    if os.fork() == 0:      # there is room for a process
        os._exit(0)
    equal(os.wait()[1], 0)
    mounts = sorted(line.split()[4] for line in open("/proc/self/mountinfo", encoding="utf-8"))
    return [*mounts, *sorted(os.listdir("/")), os.uname().nodename,
            *(f"{p} {os.stat(p).st_mode:o} {os.stat(p).st_size}"
              for p in ("/etc/passwd", "/etc", "/usr/bin/env", "/dev/null"))]


SAVED, REFUSED, DENIED = "saved", "refused", "denied"


@dataclass
class Kind:
    """A row of the table: what a checkpoint of the guest must come to.
    `words` are in the refusal; what is denied is denied to the guest itself,
    and they are what it says."""

    name: str
    outcome: str = SAVED
    words: str = "hostile"


KINDS = [
    Kind("async-owner", REFUSED), Kind("file-lease", REFUSED),
    Kind("limits-of-zero", REFUSED), Kind("no-write-exec", REFUSED),
    Kind("blocked-calls", DENIED, "Invalid"), Kind("dispatched-calls", DENIED, "Invalid"),
    Kind("directory-notify", DENIED, "Invalid"),
    Kind("chroot"), Kind("no-descriptors"), Kind("many-descriptors"), Kind("many-mappings"),
    Kind("deep-directory", REFUSED), Kind("odd-file-names"), Kind("odd-program"),
    Kind("odd-comm"), Kind("odd-pointers"), Kind("odd-registers"), Kind("odd-personality"),
    Kind("no-tsc"), Kind("scheduling"), Kind("locked-future"),
    Kind("huge-environment"), Kind("not-dumpable"), Kind("oom-first"),
    Kind("fork-storm"), Kind("thread-storm"), Kind("exec-storm"), Kind("signal-storm"),
    Kind("stop-storm"),
    Kind("leader-gone", REFUSED), Kind("vfork", REFUSED, "vfork"),
    Kind("share-memory", REFUSED), Kind("share-handlers", REFUSED),
    Kind("share-files", REFUSED), Kind("share-cwd", REFUSED),
    Kind("map-first", REFUSED, "reserved"), Kind("map-reserved", REFUSED, "reserved"),
    Kind("map-staging", REFUSED, "reserved"), Kind("map-shared-range", REFUSED, "reserved"),
    Kind("map-last"), Kind("overwrite-leftovers"), Kind("unmap-leftovers"),
    Kind("vdso-gone", REFUSED, "vdso"), Kind("vdso-moved", REFUSED, "vdso"),
    Kind("sysv-memory"), Kind("sysv-queue"),
    Kind("sysv-semaphore"), Kind("posix-queue", DENIED, "not implemented"),
    Kind("use-up-pipes", REFUSED, ""), Kind("use-up-signals", REFUSED, "signals"),
]


def try_checkpoint(box: Box, kind: Kind) -> str:
    """The checkpoint, "" when it was refused, as the table says it must."""
    begin = time.monotonic()
    try:
        checkpoint = str(box.tool.json("checkpoint", box.name, timeout_s=AT_MOST_S)["id"])
    except Refused as refusal:
        cause = str(refusal.error["cause"])
        check(kind.outcome == REFUSED, f"was refused: {cause}")
        check(kind.words in cause, f"the refusal does not say '{kind.words}': {cause}")
        checkpoint = ""
    else:
        check(kind.outcome == SAVED, "was not refused")
    check(time.monotonic() - begin < AT_MOST_S, "the checkpoint was slow")
    return checkpoint


def besiege(hold: Hold, kind: Kind) -> None:
    """Run one kind through checkpoint, rollback and its own verdict."""
    box = hold.box
    handle = box.start("/guests/hostile", "/w/go", kind.name)
    if kind.outcome == DENIED:
        check(box.wait(handle)["exit_code"] == 1, "was not denied")
        check(kind.words in box.output(handle), box.output(handle))
    else:
        box.await_output(handle, "ready\n")
        time.sleep(0.1)
        checkpoint = try_checkpoint(box, kind)
        for _ in range(2 if checkpoint else 0):
            box.rollback(checkpoint)
            time.sleep(0.03)
        box.shell("touch /w/go")
        end = box.wait(handle, 10)
        if end.get("exit_code") != 0:
            raise Failed(f"{'saved' if checkpoint else 'refused'}, then {end.get('state')} "
                         f"{end.get('exit_code')} {end.get('signal')}: {box.output(handle)!r}")
        if checkpoint:
            box.rollback(checkpoint)
    hold.restored()


def siege(first: str, last: str) -> Callable[[Ground], None]:
    """A test of the kinds from first to last in one sandbox; every one is
    tried, whatever happened to those before it."""
    names = [kind.name for kind in KINDS]

    def run(g: Ground) -> None:
        hold = Hold(g)
        failures = []
        for kind in KINDS[names.index(first):names.index(last) + 1]:
            try:
                besiege(hold, kind)
            except (Failed, Refused, OSError, subprocess.TimeoutExpired) as error:
                failures.append(f"{kind.name}: {str(error)[:300]}")
                g.boxes.remove(hold.box)
                try:
                    hold.box.remove()
                except Failed as stuck:
                    failures.append(str(stuck))
                hold = Hold(g)
        if failures:
            raise Failed("\n# ".join(failures))
    return run


def add(name: str, first: str, last: str) -> None:
    run = siege(first, last)
    run.__name__ = name
    test(run)


add("settings_that_cannot_be_saved_are_refused", "async-owner", "directory-notify")
add("odd_processes_are_saved_exactly", "chroot", "oom-first")
add("storms_are_saved_at_any_moment", "fork-storm", "stop-storm")
add("processes_that_share_too_much_are_refused", "leader-gone", "share-cwd")
add("reserved_addresses_are_refused_and_leftovers_may_be_spoiled", "map-first", "vdso-moved")
add("what_no_process_holds_is_not_lost_silently", "sysv-memory", "posix-queue")
add("used_up_quotas_are_refused", "use-up-pipes", "use-up-signals")


# What a guest can do to its own world. Rollback must not care.
ACTS = {
    "everything removed": "rm -rf --no-preserve-root / 2>/dev/null",
    "everybody killed": "kill -9 -1; kill -9 1; kill -STOP 1; kill -TERM 1",
    "everybody stopped": "kill -STOP -1",
    "devices replaced": "rm -f /dev/null /dev/zero /dev/urandom; ln -s /etc/passwd /dev/null; "
                        "mkdir /dev/zero; echo x > /dev/urandom; rm -rf /dev/shm /dev/pts",
    "links that lead out": "rm -rf /tmp /etc /run; ln -s /proc/1/root /tmp; ln -s ../../../.. /etc; "
                           "ln -s / /run; mv /w /x; ln -s ../../../x /w",
    "programs replaced": "mv /usr /gone; mkdir -p /usr/bin; ln -s /dev/null /usr/bin/python3",
    "nothing readable": "chmod 0 /w /etc /tmp /dev /usr /usr/bin /",
    "odd names": "cd /w && touch 'a\nb' \"$(printf '\\377\\376')\" -- -rf ' ' '..x' "
                 "'.wh.kept' && ln -s '\n' 'l\nl' && mkdir '.wh..wh..opq'",
    "deep directories": "cd /tmp && python3 -c \"import os\nfor i in range(300):\n"
                        " os.mkdir('d' * 100); os.chdir('d' * 100)\nopen('f', 'w').close()\"",
    "PID 1 without limits": "for l in nofile nproc as data stack fsize cpu core sigpending; do "
                            "prlimit --pid 1 --$l=0; done",
    "PID 1 slowed down": "renice 19 1; chrt -i -p 0 1; taskset -p 1 1; ionice -c 3 -p 1; "
                         "echo 1000 > /proc/1/oom_score_adj",
    "memory files full": "dd if=/dev/zero of=/dev/shm/f bs=1M count=8",
    "terminals taken": "python3 -c 'import os, time\nfor i in range(50): os.openpty()\n"
                       "if os.fork() == 0: time.sleep(1000)'",
}


@test
def rollback_repairs_whatever_a_guest_did_to_its_world(g: Ground) -> None:
    hold = Hold(g)
    failures = []
    for name, script in ACTS.items():
        try:
            hold.box.shell(f"({script}) >/dev/null 2>&1", check=False, timeout_ms=10000)
        except (Refused, ConnectionError) as error:
            print(f"# {name}: {error}", flush=True)
        try:
            hold.restored()
        except (Failed, Refused, OSError) as error:
            failures.append(f"{name}: {str(error)[:400]}")
    if failures:
        raise Failed("\n# ".join(failures))


# Each must fail, or change nothing outside the sandbox.
BREAKS = r"""
import ctypes, errno, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    ctypes.set_errno(0)
    return getattr(libc, name)(*args), errno.errorcode.get(ctypes.get_errno(), "0")
bad = []
def must_fail(what, f, *args):
    try:
        result = f(*args)
    except OSError:
        return
    if isinstance(result, tuple):
        if result[0] == -1:
            return
    bad.append(f"{what}: {result!r}")
def write(path, text):
    with open(path, "w") as f: f.write(text)
def read(path):
    with open(path, "rb") as f: return f.read(64)
for flags in (32, 0x1000, 4096 | 16384, 1 << 17):
    must_fail(f"mount {flags}", call, "mount", b"none", b"/mnt", b"tmpfs", flags, None)
must_fail("remount", call, "mount", None, b"/proc/sys", None, 32 | 4096, None)
for path in ("/proc/sys", "/proc", "/sys", "/dev", "/"):
    must_fail(f"umount {path}", call, "umount2", path.encode(), 2)
must_fail("pivot_root", libc.syscall and (lambda: (libc.syscall(155, b"/", b"/tmp"), 0)))
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000):
    must_fail(f"unshare {flag:x}", call, "unshare", flag)
must_fail("sethostname", call, "sethostname", b"host", 4)
must_fail("reboot", lambda: (libc.syscall(169, 0xfee1dead, 672274793, 0x89abcdef, 0), 0))
must_fail("mknod", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)))
must_fail("kexec", lambda: (libc.syscall(246, 0, 0, 0, 0), 0))
must_fail("open_by_handle", lambda: (libc.syscall(304, -100, 0, 0), 0))
must_fail("bpf", lambda: (libc.syscall(321, 0, 0, 0), 0))
must_fail("keyctl", lambda: (libc.syscall(250, 0, 0, 0), 0))
for path in ("/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
             "/proc/sys/vm/drop_caches", "/proc/sys/kernel/ns_last_pid",
             "/sys/kernel/uevent_helper", "/sys/power/state", "/proc/1/mem", "/proc/1/attr/current",
             "/proc/1/uid_map", "/proc/1/loginuid", "/proc/self/uid_map"):
    must_fail(f"write {path}", write, path, "0 0 1")
for path in ("/proc/1/mem", "/proc/1/environ", "/proc/1/auxv", "/proc/1/stack", "/proc/1/io",
             "/proc/1/syscall", "/proc/kcore", "/proc/1/exe", "/proc/kmsg"):
    try:
        if read(path): bad.append(f"read {path}")
    except OSError: pass
for path in ("cwd", "root", "exe", "fd/0", "fd/3", "fd/5", "ns/mnt", "ns/pid", "ns/user"):
    must_fail(f"readlink /proc/1/{path}", os.readlink, f"/proc/1/{path}")
must_fail("list /proc/1/map_files", os.listdir, "/proc/1/map_files")
must_fail("chroot to /proc/1/root", os.chroot, "/proc/1/root")
libc.ptrace.argtypes = [ctypes.c_long] * 4
for request in (16, 0x4206):
    must_fail(f"ptrace {request:x}", call, "ptrace", request, 1, 0, 0)
buffer = ctypes.create_string_buffer(64)
class Vec(ctypes.Structure): _fields_ = [("at", ctypes.c_void_p), ("len", ctypes.c_size_t)]
mine, its = Vec(ctypes.addressof(buffer), 64), Vec(0x400000, 64)
must_fail("process_vm_readv", call, "process_vm_readv", 1, ctypes.byref(mine), 1,
          ctypes.byref(its), 1, 0)
pidfd = os.pidfd_open(1)
for fd in range(8):
    must_fail(f"pidfd_getfd {fd}", lambda: (libc.syscall(438, pidfd, fd, 0), 0))
for flag in (0x10000000, 0x20000, 0x20000000):
    must_fail(f"setns {flag:x}", call, "setns", pidfd, flag)
for sig in range(1, 65):
    try: os.kill(1, sig)
    except OSError: pass
for line in open("/proc/mounts"):
    if "rw," in line.split()[3] + "," and line.split()[1].startswith(("/proc/", "/sys")):
        bad.append(line)
parents = [l for l in open("/proc/1/status") if l.startswith(("PPid", "NSpid"))]
if parents[0].split()[1] != "0": bad.append(parents[0])
print("\n".join(bad))
sys.exit(1 if bad else 0)
"""


@test
def nothing_outside_can_be_reached(g: Ground) -> None:
    hold = Hold(g)
    done = hold.box.keeper.call("exec", argv=["/usr/bin/python3", "-c", BREAKS],
                                timeout_ms=20000)
    equal(done["exit_code"], 0, (done["stdout"] + done["stderr"]).decode(errors="replace"))
    equal(hold.box.text("echo alive"), "alive")
    hold.restored()
    done = hold.box.keeper.call("exec", argv=["/usr/bin/python3", "-c", BREAKS],
                                timeout_ms=20000)
    equal(done["exit_code"], 0, "after rollback: " + done["stdout"].decode(errors="replace"))

"""mulligan shell, seen by the person at its terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import tempfile
import termios
import time

from box import Failed
from ground import Ground, check, equal, test

WAIT_S = 20


class Terminal:
    """A client of `mulligan shell NAME` with a terminal of its own."""

    def __init__(self, g: Ground, *command: str) -> None:
        self.heard = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(g.tool.path, [str(g.tool.path), *command], g.tool.env)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def until(self, text: str) -> str:
        """All that came up to and with the text; takes it."""
        end = time.monotonic() + WAIT_S
        while text.encode() not in self.heard:
            ready = select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]
            check(bool(ready), f"no {text!r} in {self.heard!r}")
            self.heard += os.read(self.fd, 65536)
        at = self.heard.index(text.encode()) + len(text)
        taken, self.heard = self.heard[:at], self.heard[at:]
        return taken.decode()

    def silent(self, seconds: float = 0.3) -> None:
        ready = select.select([self.fd], [], [], seconds)[0]
        check(not ready and not self.heard, "something came that nobody asked for")

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def end(self) -> int:
        """Wait for the client's end; its exit code."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                if select.select([self.fd], [], [], 0.1)[0]:
                    os.read(self.fd, 65536)
            except OSError:
                break
        pid = status = 0
        while not pid:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if not pid and time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise Failed(f"the client has not ended within {WAIT_S} s")
            time.sleep(0.01)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def plain_shell(g: Ground) -> Terminal:
    """A shell that echoes nothing of its own but its prompt."""
    g.create()
    shell = Terminal(g, "exec", "-T", "one", "--", "/bin/bash", "--norc", "--noprofile", "--noediting")
    shell.type("PS1='<p>'; echo be''gin\n")
    shell.until("begin\r\n<p>")
    return shell


@test
def a_shell_goes_on_through_checkpoint_and_rollback(g: Ground) -> None:
    shell = plain_shell(g)
    shell.type("x=before; (sleep 1000 &) ; sleep 1000 &\n")
    shell.until("<p>")
    shell.type("echo in the mid")
    shell.until("in the mid")
    equal(g.tool.run("checkpoint", "one").returncode, 0)
    shell.type("dle, $x; x=after\n")
    equal(shell.until("<p>"), "dle, $x; x=after\r\nin the middle, before\r\n<p>")
    for i in range(3):
        equal(g.tool.run("rollback", "one").returncode, 0)
        shell.silent()
        shell.type(f"st of {i}, $x; x=after\n")
        equal(shell.until("<p>"), f"st of {i}, $x; x=after\r\nin the midst of {i}, before\r\n<p>")
    shell.type("ps -o tpgid= -o tty= -p $$; jobs; exit 7\n")
    check("pts/0" in shell.until("sleep 1000"))
    equal(shell.end(), 7)


@test
def output_of_a_shell_is_whole_through_rollbacks(g: Ground) -> None:
    shell = plain_shell(g)
    shell.type("i=0; while read -r line; do i=$((i+1)); echo \"$i:$line\"; done\n")
    shell.until("done\r\n")
    said = 0
    for turn in range(6):
        equal(g.tool.run("checkpoint", "one").returncode, 0)
        for word in ("a", "b"):
            shell.type(f"{word}{turn}\n")
        shell.until(f"{said + 2}:b{turn}\r\n")
        equal(g.tool.run("rollback", "one").returncode, 0)
        shell.type(f"c{turn}\n")
        said += 1
        equal(shell.until(f"{said}:c{turn}\r\n"), f"c{turn}\r\n{said}:c{turn}\r\n")
    shell.type("\x04")
    shell.until("<p>")
    shell.type("exit\n")
    equal(shell.end(), 0)


@test
def keys_and_the_size_work_after_a_rollback(g: Ground) -> None:
    shell = plain_shell(g)
    equal(g.tool.run("checkpoint", "one").returncode, 0)
    shell.type("stty size\n")
    shell.until("<p>")
    equal(g.tool.run("rollback", "one").returncode, 0)
    shell.resize(31, 77)
    end = time.monotonic() + WAIT_S     # the client passes it on in its own time
    size = ""
    while "31 77\r\n" not in size and time.monotonic() < end:
        shell.type("stty size\n")
        size = shell.until("<p>")
    check("31 77\r\n" in size, size)
    shell.type("sleep 1000\n")
    shell.until("sleep 1000\r\n")
    g.boxes[0].shell("for i in $(seq 1000); do pgrep -x sleep && exit 0; sleep 0.01; done; exit 1")
    shell.type("\x03")
    shell.until("^C")
    shell.until("<p>")
    shell.type("exit 3\n")
    equal(shell.end(), 3)


@test
def a_fork_has_the_shell_without_its_client(g: Ground) -> None:
    shell = plain_shell(g)
    forked = g.tool.run("fork", "one")
    equal(forked.returncode, 0, forked.stderr)
    twin = forked.stdout.split()[0]
    try:
        seen = g.tool.run("exec", twin, "--", "ps", "-eo", "tty=,args=")
        check("pts/0" in seen.stdout and "bash" in seen.stdout, seen.stdout)
    finally:
        g.tool.run("rm", twin)
    shell.type("echo st''ill\n")
    shell.until("still\r\n")
    shell.type("exit\n")
    equal(shell.end(), 0)


@test
def the_last_words_of_a_terminal_are_heard(g: Ground) -> None:
    g.create()
    for _ in range(40):
        command = Terminal(g, "exec", "-T", "one", "--", "sh", "-c", "seq 300; echo last")
        command.until("300\r\nlast\r\n")
        equal(command.end(), 0)


@test
def nobody_hears_a_hangup_when_a_rollback_ends_it(g: Ground) -> None:
    """The old shell would say so in a volume that a rollback leaves alone."""
    with tempfile.TemporaryDirectory() as outside:
        os.chmod(outside, 0o777)
        g.create("one", "--volume", f"{outside}:/out:rw")
        shell = Terminal(g, "exec", "-T", "one", "--", "/bin/bash", "--norc", "--noediting")
        shell.type("trap 'echo hung up >> /out/heard' HUP; echo be''gin\n")
        shell.until("begin\r\n")
        equal(g.tool.run("checkpoint", "one").returncode, 0)
        for _ in range(10):
            shell.type("while :; do :; done\n")
            shell.until("done\r\n")
            equal(g.tool.run("rollback", "one").returncode, 0)
        equal(os.listdir(outside), [])
        shell.type("exit\n")
        equal(shell.end(), 0)


@test
def a_stopped_job_is_told_once_and_stays_stopped_by_its_key(g: Ground) -> None:
    shell = plain_shell(g)
    shell.type("set -m; sh -c 'echo be''low; read x'\n")
    shell.until("below\r\n")
    shell.type("\x1a")
    shell.until("Stopped")
    shell.until("<p>")
    equal(g.tool.run("checkpoint", "one").returncode, 0)
    for _ in range(5):
        equal(g.tool.run("rollback", "one").returncode, 0)
        shell.type("jobs -l; echo li''sted\n")
        seen = shell.until("listed\r\n<p>")
        equal(seen.count("Stopped"), 1, seen)
        check("(signal)" not in seen, seen)
        state = g.tool.run("exec", "one", "--", "ps", "-C", "sh", "-o", "state=")
        equal(state.stdout.strip(), "T", repr(state))
    # bash does not end while it has not heard of the job's end
    shell.type("kill -9 %1; while jobs %1; do sleep 0.05; done 2>/dev/null; echo ki''lled\n")
    shell.until("killed\r\n")
    shell.type("exit 5\n")
    equal(shell.end(), 5)

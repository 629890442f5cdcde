"""Somebody who types into vim, at a terminal of his own.

A step is one more line. The file is saved now and then; what was not saved is
in the swap file, and in vim.
"""

import fcntl
import os
import pty
import struct
import termios

from common import MODULUS, finished, progress

EDITOR = ("vim", "-u", "NONE", "-N", "-c", "set updatecount=1", "text")


def start() -> tuple[int, int]:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "vt100"
        os.execvp(EDITOR[0], EDITOR)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, terminal


def until(terminal: int, text: bytes) -> None:
    heard = b""
    while text not in heard:
        heard = heard[-1000:] + os.read(terminal, 65536)


def main() -> None:
    pid, terminal = start()
    until(terminal, b"text")
    n = value = 0
    while not finished():
        n += 1
        value = (value * 31 + n) % MODULUS
        os.write(terminal, b"Goline %d %d\x1b" % (n, value))
        if n % 10 == 0:
            os.write(terminal, b":w\r")
        os.write(terminal, b":echo 'seen' line('$') . 'x'\r")
        until(terminal, b"seen %dx" % (n + 1))
        assert os.path.exists(".text.swp"), "no swap file"
        progress(n, value)
    os.write(terminal, b":wq\r")
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass    # EIO: vim has ended
    assert os.waitpid(pid, 0)[1] == 0
    assert not os.path.exists(".text.swp"), "the swap file was left"
    value = 0
    with open("text") as file:
        lines = file.read().splitlines()
    assert len(lines) == n + 1, f"{len(lines)} lines after {n} steps"
    for i in range(1, n + 1):
        value = (value * 31 + i) % MODULUS
        assert lines[i] == f"line {i} {value}", lines[i]


main()

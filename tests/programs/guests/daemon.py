"""A daemon as of old: forks twice, leads no session, holds a locked pid file."""

import fcntl
import os
import signal
import time

from common import MODULUS, finished, progress

hangups = 0


def hung_up(*_: object) -> None:
    global hangups
    hangups += 1


def daemonize() -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.umask(0o027)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def main() -> None:
    daemonize()
    while os.getppid() != 1:  # until the one between has ended
        time.sleep(0.001)
    pidfile = os.open("daemon.pid", os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.lockf(pidfile, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(pidfile, b"%d\n" % os.getpid())
    signal.signal(signal.SIGHUP, hung_up)
    me = os.getpid(), os.getsid(0), os.getppid()
    n = value = 0
    while not finished():
        n += 1
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.005)
        assert hangups == n
        assert (os.getpid(), os.getsid(0), os.getppid()) == me and me[0] != me[1]
        value = (value * 31 + n) % MODULUS
        progress(n, value)
    os.unlink("daemon.pid")
    os.close(pidfile)


main()

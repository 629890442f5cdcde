"""A session by ssh: what is typed goes to a shell on the other side and back."""

import subprocess

from common import MODULUS, finished, progress

SSH = ("ssh", "-F", "none", "-T", "-p", "7007", "-i", "/w/key", "-o", "StrictHostKeyChecking=no",
       "-o", "UserKnownHostsFile=/w/known", "-o", "ConnectionAttempts=100",
       "-o", "LogLevel=ERROR", "root@127.0.0.1")


def main() -> None:
    session = subprocess.Popen([*SSH, "value=0; while read n; do "
                                f"value=$(((value * 31 + n) % {MODULUS})); echo $value; done"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert session.stdin and session.stdout
    n = value = 0
    while not finished():
        n += 1
        session.stdin.write(f"{n}\n")
        session.stdin.flush()
        value = int(session.stdout.readline())
        progress(n, value)
    session.stdin.close()
    assert session.wait() == 0


main()

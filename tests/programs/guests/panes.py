"""Somebody at tmux with three panes: each step is typed into one of them, and
read from its screen."""

import subprocess
import time

from common import MODULUS, finished, progress

TMUX = ("tmux", "-S", "/w/tmux", "-f", "/dev/null")


def tmux(*words: str) -> str:
    return subprocess.run([*TMUX, *words], check=True, text=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    shell = "exec env PS1='% ' sh"
    tmux("new-session", "-d", "-s", "work", "-x", "100", "-y", "60", shell)
    tmux("split-window", "-t", "work", "-h", shell)
    tmux("split-window", "-t", "work", "-v", shell)
    for pane in range(3):
        tmux("send-keys", "-t", f"work:0.{pane}", f"value=0 pane={pane}", "Enter")
    n = value = 0
    while not finished():
        n += 1
        pane = f"work:0.{n % 3}"
        # each shell has a value of its own: the last but two
        value = (value * 31 + n) % MODULUS
        tmux("send-keys", "-t", pane, f"value={value}; echo pane $pane has $value", "Enter")
        words = f"\npane {n % 3} has {value}\n"
        while words not in tmux("capture-pane", "-p", "-t", pane):
            time.sleep(0.005)
        progress(n, value)
    assert tmux("list-panes", "-t", "work", "-F", "#{pane_index}").split() == ["0", "1", "2"]
    tmux("kill-server")


main()

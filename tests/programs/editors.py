"""Editors, at a terminal that was made inside."""

from __future__ import annotations

from program import Program, program


@program
class Vim(Program):
    """Vim with unsaved changes and a swap file, and somebody who types."""

    needs = {"vim": "vim", "python3": "python3"}
    guests = ("common.py", "typist.py")
    command = ("/usr/bin/python3", "-B", "typist.py")


@program
class Tmux(Program):
    """A server with three panes, a shell in each, and somebody who types."""

    needs = {"tmux": "tmux", "python3": "python3"}
    guests = ("common.py", "panes.py")
    command = ("/usr/bin/python3", "-B", "panes.py")

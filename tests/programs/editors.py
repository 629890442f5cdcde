"""Editors, at a terminal that was made inside."""

from __future__ import annotations

from program import Program, program


@program
class Vim(Program):
    """Vim with unsaved changes and a swap file, and somebody who types."""

    needs = {"vim": "vim", "python3": "python3"}
    guests = ("common.py", "typist.py")
    command = ("/usr/bin/python3", "-B", "typist.py")

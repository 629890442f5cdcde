"""What the system tests stand on: a place of their own per test, TAP, leaks.

A test is a function with @test that takes a Ground. It fails by an exception
and must leave nothing: no process, no mount, no sandbox in the runtime
directory, no layer that gc would not remove.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

from box import Box, Failed
from keeper import Refused, Tool


class Skip(Exception):
    """The test cannot run here; says what is missing."""


class Ground:
    """Directories, the tool and the sandboxes of one test."""

    def __init__(self, build: Path) -> None:
        self.build = build
        self.top = Path(tempfile.mkdtemp(prefix="mulligan-system."))
        self.env = {"MULLIGAN_RUNTIME": f"{self.top}/run", "MULLIGAN_STATE": f"{self.top}/state"}
        for path in self.env.values():
            os.mkdir(path, 0o700)
        os.environ.update(self.env)
        self.tool = Tool(build, self.env)
        self.boxes: list[Box] = []

    def create(self, name: str = "one", *options: str, env: dict[str, str] | None = None) -> Box:
        tool = Tool(self.build, {**self.env, **(env or {})})
        box = Box.create(tool, name, *options)
        self.boxes.append(box)
        return box

    def fork(self, box: Box, checkpoint: str, n: int) -> list[Box]:
        twins = box.fork(checkpoint, n)
        self.boxes += twins
        return twins

    def processes(self) -> list[str]:
        """Living processes that know this test's runtime directory."""
        found = []
        mark = self.env["MULLIGAN_RUNTIME"].encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and int(entry.name) != os.getpid() and \
                        mark in (entry / "environ").read_bytes() + \
                        (entry / "cmdline").read_bytes():
                    found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
            except OSError:
                continue
        return found

    def gone(self, what: Callable[[], list[str]], within_s: float = 5) -> None:
        """Wait until a list is empty."""
        end = time.monotonic() + within_s
        while left := what():
            if time.monotonic() > end:
                raise Failed(f"left behind after {within_s} s: {left}")
            time.sleep(0.02)

    def runtime_names(self) -> list[str]:
        return [p.name for p in Path(self.env["MULLIGAN_RUNTIME"]).iterdir()
                if not p.name.startswith(".")]

    def layers(self) -> set[str]:
        return {p.name for p in Path(self.env["MULLIGAN_STATE"]).glob("layers/*")}

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The checkpoints on disk by id."""
        found = [json.loads(p.read_text())
                 for p in Path(self.env["MULLIGAN_STATE"]).glob("checkpoints/*.json")]
        return {m["id"]: m for m in found}

    def collect(self) -> dict[str, dict[str, Any]]:
        """After a keeper was killed: gc leaves the files of checkpoints and
        nothing else. Those checkpoints; each whole."""
        done = self.tool.run("gc")
        equal(done.returncode, 0, done.stderr)
        kept = self.manifests()
        named = {layer["id"] for m in kept.values() for mount in m["mounts"]
                 for layer in mount["layers"]}
        equal(self.layers(), named, "layers after gc")
        folder = Path(self.env["MULLIGAN_STATE"])
        equal([str(p) for p in folder.glob("trash/*")], [], "trash after gc")
        equal([str(p) for p in folder.glob("checkpoints/.*")], [], "half a manifest")
        equal({p.name for p in folder.glob("sandboxes/*/*")} - {"lock", "record.json"}, set(),
              "in the records of the dead")
        return kept

    def forget(self) -> None:
        """Delete what is kept of the dead: then there is nothing."""
        if self.manifests():
            done = self.tool.run("rm", "--all")
            equal(done.returncode, 0, done.stderr)
        for part in ("layers", "checkpoints", "sandboxes", "trash"):
            left = [p.name for p in Path(self.env["MULLIGAN_STATE"]).glob(f"{part}/*")]
            equal(left, [], f"{part} after rm")

    def check_clean(self) -> None:
        """Nothing of this test is left once its sandboxes are removed."""
        for box in self.boxes:
            box.remove()
        self.boxes.clear()
        self.gone(self.processes)
        self.gone(self.runtime_names)

    def close(self) -> None:
        for box in self.boxes:
            try:
                box.remove()
            except (OSError, Failed):
                pass
        try:
            self.tool.run("rm", "--all", timeout_s=20)
        except subprocess.TimeoutExpired:
            print("# sandboxes are left: 'rm --all' did not end", flush=True)
        shutil.rmtree(self.top, ignore_errors=True)


Test = Callable[[Ground], None]
TESTS: list[Test] = []


def test(function: Test) -> Test:
    """Register a test, in the order of the files."""
    TESTS.append(function)
    return function


def check(condition: object, words: str = "") -> None:
    if not condition:
        raise Failed(words or "a check did not hold")


def equal(have: Any, want: Any, words: str = "") -> None:
    if have != want:
        raise Failed(f"{words + ': ' if words else ''}have {have!r}, want {want!r}")


def refused(call: Callable[[], Any], *words: str) -> dict[str, Any]:
    """The call must be refused with a cause that has all the words in it."""
    try:
        result = call()
    except Refused as refusal:
        text = str(refusal.error).lower()
        for word in words:
            if word.lower() not in text:
                raise Failed(f"'{word}' is not in {refusal.error}") from None
        return refusal.error
    raise Failed(f"was not refused: {result}")


def run_tests(tests: list[Test], build: Path) -> int:
    """Run the tests and print TAP; the exit status."""
    print(f"TAP version 13\n1..{len(tests)}", flush=True)
    failed = 0
    for number, function in enumerate(tests, 1):
        ground = Ground(build)
        try:
            function(ground)
            ground.check_clean()
        except Skip as skip:
            print(f"ok {number} - {function.__name__} # SKIP {skip}", flush=True)
        except Exception as error:  # pylint: disable=broad-except  (a test may fail in any way)
            failed += 1
            print(f"not ok {number} - {function.__name__}\n"
                  f"# {type(error).__name__}: {error}", flush=True)
        else:
            print(f"ok {number} - {function.__name__}", flush=True)
        finally:
            ground.close()
    return 1 if failed else 0


def run_chosen(tests: list[Test], args: argparse.Namespace) -> int:
    """Run, or with --list print, those whose name matches args.patterns."""
    chosen = [t for t in tests if not args.patterns or
              any(fnmatch.fnmatch(t.__name__, p) for p in args.patterns)]
    if args.list:
        print("\n".join(t.__name__ for t in chosen))
        return 0
    return run_tests(chosen, args.build.resolve())

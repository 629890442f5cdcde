"""A client of the command line tool and of the keeper's socket, for tests.

Frames: u32 length, u8 kind, u8 flags, u16 version, little-endian, then the
bytes (src/wire/frame.h). A JSON frame is a request or a reply.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

HEADER = struct.Struct("<IBBH")
VERSION = 1
JSON, STDIN, STDOUT, STDERR = 1, 2, 3, 4
# how many times slower than usual the machine is: all time limits are longer
SLOW = float(os.environ.get("T_SLOWER", "1"))


class Refused(Exception):
    """The keeper or the tool said no; `error` holds code, cause, remedy."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('cause')}")
        self.error = error


def runtime_dir() -> Path:
    """Where keepers are found, as src/wire/runtime.h says."""
    if own := os.environ.get("MULLIGAN_RUNTIME"):
        return Path(own)
    if os.geteuid() == 0:
        return Path("/run/mulligan")
    if run := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(run) / "mulligan"
    return Path(f"/tmp/mulligan-{os.geteuid()}")


def keeper_pid(name: str) -> int:
    """Process id of the keeper of a sandbox, 0 if there is none."""
    try:
        return int((runtime_dir() / name / "pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


class Keeper:
    """One connection to the keeper of a sandbox; one request at a time."""

    def __init__(self, name: str, timeout_s: float = 60) -> None:
        self.name = name
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s * SLOW)
        path = str(runtime_dir() / name / "sock")
        if len(path) >= 108:    # a socket's name is short: go by a descriptor
            folder = os.open(os.path.dirname(path), os.O_PATH)
            try:
                self.socket.connect(f"/proc/self/fd/{folder}/sock")
            finally:
                os.close(folder)
        else:
            self.socket.connect(path)
        self.last_id = 0

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _receive(self, n: int) -> bytes:
        parts = []
        while n:
            part = self.socket.recv(min(n, 1 << 16))
            if not part:
                raise ConnectionError(f"the keeper of {self.name} hung up")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def send_frame(self, kind: int, data: bytes) -> None:
        """Send one frame."""
        self.socket.sendall(HEADER.pack(len(data), kind, 0, VERSION) + data)

    def receive(self) -> tuple[int, bytes]:
        """The next frame: its kind and what is in it."""
        length, kind, _, _ = HEADER.unpack(self._receive(HEADER.size))
        return kind, self._receive(length)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Make a request; its result, with `stdout` and `stderr` (bytes) if
        the method streams. Raises Refused."""
        return self.answer(self.send(method, **params), method)

    def send(self, method: str, **params: Any) -> int:
        """Make a request; its number, for answer()."""
        self.last_id += 1
        self.send_frame(JSON, json.dumps({"id": self.last_id, "method": method,
                                          "version": VERSION, "params": params}).encode())
        return self.last_id

    def answer(self, number: int, method: str) -> dict[str, Any]:
        """As call(), of a request that was sent. Others' answers are dropped."""
        streams: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        while True:
            kind, data = self.receive()
            if kind in streams:
                streams[kind].append(data)
                continue
            reply = json.loads(data)
            if reply.get("id") != number:
                continue
            if "error" in reply:
                raise Refused(reply["error"])
            result: dict[str, Any] = reply["result"]
            for name, stream in (("stdout", STDOUT), ("stderr", STDERR)):
                if streams[stream] or method in ("exec", "attach"):
                    result[name] = b"".join(streams[stream])
            return result


class Tool:
    """The command line tool of a build."""

    def __init__(self, build: Path, env: dict[str, str] | None = None) -> None:
        self.path = str(build / "mulligan")
        self.env = {**os.environ, **(env or {})}

    def run(self, *args: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.path, *args], env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace",
                              timeout=timeout_s * SLOW, check=False)

    def json(self, *args: str, timeout_s: float = 60) -> dict[str, Any]:
        """Run with --json; what it printed. Raises Refused."""
        done = self.run(args[0], "--json", *args[1:], timeout_s=timeout_s)
        if done.returncode:
            try:
                error = json.loads(done.stderr.strip().splitlines()[-1])
                error = error.get("error", error)
            except (ValueError, IndexError):
                error = {"code": str(done.returncode), "cause": done.stderr.strip()}
            raise Refused(error)
        result: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
        return result

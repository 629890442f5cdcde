"""The test run of ./run test: everything that build/ says is a test, then
the guest matrix; as root a second time as an ordinary user.

The last line is "N passed, N failed, N skipped"; the exit status is 1 when
something failed. Every skip is listed with its reason.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tap import Tally, run_tap

HERE = Path(__file__).resolve().parent
ORDINARY_USER = "mulligan-test"
# a user namespace with one id, as everything rootless needs it
USERNS_PROBE = ["unshare", "--user", "--map-root-user", "--mount", "true"]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run test", description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help="the whole guest matrix, and "
                        "its core on Linux 6.1 in a virtual machine")
    parser.add_argument("--verbose", action="store_true", help="show all output")
    parser.add_argument("--no-rootless", action="store_true",
                        help="as root: leave out the pass as an ordinary user")
    parser.add_argument("patterns", nargs="*", metavar="PATTERN",
                        help="only tests whose suite/name matches")
    return parser.parse_args()


def wanted(name: str, patterns: list[str]) -> bool:
    return not patterns or any(fnmatch.fnmatch(name, f"*{p}*") for p in patterns)


def built_tests(build: Path) -> list[dict]:
    """What meson was told is a test; paths moved to where the build is now."""
    tests = json.loads((build / "meson-info/intro-tests.json").read_text())
    info = json.loads((build / "meson-info/meson-info.json").read_text())
    was = info["directories"]["build"]

    def here(text: str) -> str:
        return str(build) + text[len(was):] if text.startswith(was + "/") else text

    for test in tests:
        test["cmd"] = [here(word) for word in test["cmd"]]
        test["env"] = {key: here(value) for key, value in test["env"].items()}
        if os.path.basename(test["cmd"][0]).startswith("python"):
            test["cmd"][0] = sys.executable
        test["suite"] = test["suite"][0].split(":")[-1] if test["suite"] else "other"
    order = {"code": 0, "unit": 1, "kernel": 2}
    return sorted(tests, key=lambda test: order.get(test["suite"], 3))


def run_pass(args: argparse.Namespace, who: str) -> Tally:
    """All tests once, as the user we are. who: prefix of the names."""
    tally = Tally()
    print(f"as {who}:", flush=True)
    for test in built_tests(args.build):
        name = f"{test['suite']}/{test['name']}"
        if test["suite"] == "code" and who == "ordinary user" and args.results:
            continue  # about the sources: once is enough
        if wanted(name, args.patterns):
            result = run_tap(name, test["cmd"], test["env"], test["timeout"], args.verbose)
            tally.add(result)
    for name, script in (("system", "system"), ("model", "model"),
                         ("programs", "programs"), ("guests/matrix", "matrix.py")):
        command = [sys.executable, "-B", str(HERE / script), "--build", str(args.build)]
        command += ["--all"] if args.all else []
        if wanted(name, args.patterns):
            tally.add(run_tap(name, command, {}, 7200 if args.all else 900, args.verbose))
    name = "qemu"   # runs both users inside: once is enough
    if (args.all or name in args.patterns) and not args.results:
        command = [sys.executable, "-B", str(HERE / name), "--build", str(args.build)]
        if wanted(name, args.patterns):
            tally.add(run_tap(name, command, {}, 7200, args.verbose))
    for results in (tally.failed, tally.skipped):
        results[:] = [f"[{who}] {line}" for line in results]
    return tally


def ordinary_user() -> pwd.struct_passwd | str:
    """The user of the rootless pass, made when missing; or why there is none."""
    try:
        return pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        pass
    if not shutil.which("useradd"):
        return "no useradd here"
    print(f"adding user {ORDINARY_USER} for the rootless tests", flush=True)
    made = subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", ORDINARY_USER],
                          capture_output=True, text=True, check=False)
    if made.returncode:
        return f"useradd: {made.stderr.strip()}"
    return pwd.getpwnam(ORDINARY_USER)


def copy_build(build: Path, to: Path) -> None:
    """The programs of the build and the test scripts, where all may read."""
    def unneeded(folder: str, names: list[str]) -> list[str]:
        return [n for n in names if n.endswith((".p", ".a", ".o", ".log", "meson-private", "qemu"))]

    shutil.copytree(build, to / "build", ignore=unneeded, symlinks=True)
    shutil.copytree(HERE, to / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [to, *to.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def rootless_pass(args: argparse.Namespace) -> Tally:
    """Run this script again as an ordinary user, on a copy of the build."""
    user = ordinary_user()
    if isinstance(user, str):
        return Tally(skipped=[f"[ordinary user] everything: {user}"])
    with tempfile.TemporaryDirectory(prefix="mulligan-rootless.") as name:
        top = Path(name)
        copy_build(args.build, top)
        work = top / "work"
        for part in (work, work / "run"):
            part.mkdir(mode=0o700)
            os.chown(part, user.pw_uid, user.pw_gid)
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "HOME": user.pw_dir, "USER": user.pw_name, "TMPDIR": str(work),
               "XDG_RUNTIME_DIR": str(work / "run"), "LANG": "C.UTF-8"}
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
                  "--init-groups", "--inh-caps=-all"]
        if subprocess.run(become + USERNS_PROBE, env=env, check=False,
                          capture_output=True).returncode:
            return Tally(skipped=["[ordinary user] everything: "
                                  "this host gives ordinary users no user namespaces"])
        results = work / "results.json"
        command = become + [sys.executable, "-B", str(top / "tests/suite.py"),
                            "--build", str(top / "build"), "--results", str(results)]
        command += ["--all"] if args.all else []
        command += ["--verbose"] if args.verbose else []
        subprocess.run(command + args.patterns, env=env, cwd=work, check=False,
                       stdin=subprocess.DEVNULL)
        if not results.exists():
            return Tally(failed=["[ordinary user] the pass did not come to its end"])
        return Tally(**json.loads(results.read_text()))


def main() -> int:
    args = parse_args()
    args.build = args.build.resolve()
    root = os.geteuid() == 0
    tally = run_pass(args, "root" if root else "ordinary user")
    if args.results:
        args.results.write_text(json.dumps(vars(tally)))
        return 1 if tally.failed else 0
    if root and not args.no_rootless:
        tally.add(rootless_pass(args))
    for line in tally.skipped:
        print(f"skipped: {line}")
    for line in tally.failed:
        print(f"FAILED: {line}")
    print(tally)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())

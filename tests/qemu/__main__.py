"""The core of the guest matrix on Debian 12's kernel (6.1), in a virtual machine.

There the newer kernel calls are missing, so that what replaces them does the
work. Without KVM (the processor is emulated): slow, but it runs anywhere.
Downloads the kernel as a package into BUILD/qemu; prints TAP.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNEL = re.compile(r"linux-image-6\.1\.[\w.-]*cloud-amd64$")
NEEDED = ("qemu-system-x86_64", "busybox", "mke2fs", "apt-get", "dpkg-deb", "ldd")
BOOT_LIMIT_S = 5400
SLOW = 12           # an emulated processor, to a real one
USER = "mulligan-test"
CASES = ["counter/*", "threads/*", "mem_shared/*", "pipe_queue/rollback", "file_append/*",
         "tree_deep/rollback", "python_threads/rollback", "bash_jobs/rollback"]
PROGRAMS = """bash busybox cat chmod chown cp date dmesg env false grep head id kill ln ls mkdir
    mktemp mount mv newgidmap newuidmap ps python3 rm sed setpriv setsid sh sleep stat sync tail
    touch true umount uname unshare wc""".split()
MODULES = """virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk
    overlay""".split()
RESULT = re.compile(r"(ok|not ok) \d+ - (.*)")


class Skip(Exception):
    """This cannot be done on this machine."""


def run(*command: str | Path, **options: object) -> str:
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          check=False, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def kernel(cache: Path) -> Path:
    """The unpacked package of the kernel."""
    for known in cache.glob("linux-image-*/boot/vmlinuz-*"):
        return known.parent.parent
    names = run("apt-cache", "depends", "linux-image-cloud-amd64").split()
    names = [name for name in names if KERNEL.match(name)]
    if not names:
        raise Skip("no package linux-image-cloud-amd64 of Linux 6.1 is offered to this machine")
    try:
        run("apt-get", "download", names[0], cwd=cache)
    except RuntimeError as error:
        raise Skip(f"the kernel could not be downloaded: {error}") from None
    package = next(cache.glob(f"{names[0]}_*.deb"))
    fresh = cache / "unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    run("dpkg-deb", "-x", package, fresh)
    fresh.rename(cache / names[0])
    package.unlink()
    return cache / names[0]


def make_initrd(top: Path, root: Path, initrd: Path) -> None:
    """busybox, the modules and the script that finds the disk."""
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "modules", "new", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "", root / "bin/busybox")
    for name in ("sh", "mount", "insmod", "sleep", "poweroff", "switch_root"):
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy2(HERE / "initrd.sh", root / "init")
    (root / "init").chmod(0o755)
    for name in MODULES:
        for path in top.glob(f"lib/modules/*/kernel/**/{name}.ko"):
            shutil.copy2(path, root / "modules")
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with initrd.open("wb") as out:
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=root, check=True,
                       input=f".\n{names}\n".encode(), stdout=out, stderr=subprocess.DEVNULL)


def libraries(program: Path) -> set[str]:
    """The shared libraries of a program, and the loader."""
    done = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    return set(re.findall(r"(?:=> |^\s)(/\S+) \(0x", done.stdout, re.MULTILINE))


def copy_file(path: str, root: Path) -> None:
    """To the same place below root, where /lib and the like are links."""
    place = root / os.path.relpath(os.path.realpath(os.path.dirname(path)), "/")
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, place / os.path.basename(path))


def copy_system(root: Path, build: Path) -> None:
    """The programs of this machine that the tests use, with their libraries."""
    wanted = {build / "mulligan", build / "mulligan-keeper"}
    for name in PROGRAMS:
        path = shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
        if not path:
            raise Skip(f"'{name}' is not installed")
        copy_file(path, root)
        wanted.add(Path(path))
    python = next(Path("/usr/lib").glob("python3.*/os.py")).parent
    shutil.copytree(python, root / python.relative_to("/"), symlinks=True,
                    ignore=shutil.ignore_patterns("test", "idlelib", "__pycache__", "config-*",
                                                  "sitecustomize.py"))
    wanted.update(python.glob("lib-dynload/*.so"))
    for library in set().union(*(libraries(path) for path in wanted)):
        copy_file(library, root)


def make_root(root: Path, build: Path, cases: list[str]) -> None:
    """The file tree of the guest system."""
    shutil.rmtree(root, ignore_errors=True)
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "dev", "proc", "sys", "tmp",
                 "run", "root", f"home/{USER}", "opt", "var/lib", "var/tmp", "mulligan/build"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/tmp").chmod(0o1777)
    (root / f"home/{USER}").chmod(0o777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n"
                                     f"{USER}:x:1000:1000::/home/{USER}:/bin/bash\n")
    (root / "etc/group").write_text(f"root:x:0:\n{USER}:x:1000:\n")
    for name in ("subuid", "subgid"):
        (root / "etc" / name).write_text(f"{USER}:100000:65536\n")
    copy_system(root, build)
    for name in ("mulligan", "mulligan-keeper"):
        shutil.copy2(build / name, root / "mulligan/build")
    objects = shutil.ignore_patterns("*.p", "*.a", "*.o")
    shutil.copytree(build / "tests/guests", root / "mulligan/build/tests/guests", ignore=objects)
    shutil.copytree(HERE.parent, root / "mulligan/tests",
                    ignore=shutil.ignore_patterns("__pycache__"))
    (root / "mulligan/arguments").write_text("\n".join(cases) + "\n")


def make_disk(root: Path, disk: Path) -> None:
    """An ext4 image; an ordinary user's files are root's in it."""
    disk.unlink(missing_ok=True)
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), "1536M"]
    if os.geteuid() != 0:
        command = ["unshare", "--user", "--map-root-user", *command]
    run(*command, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})


def boot(top: Path, initrd: Path, disk: Path, log: Path) -> str:
    """Run the machine to its end; what its console said."""
    image = next(top.glob("boot/vmlinuz-*"))
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "2048", "-smp", "1",
               "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
               "-kernel", image, "-initrd", initrd,
               "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe",
               "-append", f"console=ttyS0 panic=-1 quiet T_SLOWER={SLOW}"]
    with log.open("wb") as out:
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out,
                           stderr=subprocess.STDOUT, check=False, timeout=BOOT_LIMIT_S)
        except subprocess.TimeoutExpired:
            out.write(f"\nthe machine was stopped after {BOOT_LIMIT_S} s\n".encode())
    return log.read_text(errors="replace").replace("\r", "")


def report(console: str) -> int:
    """TAP of all that was told; a part that did not end is a failure."""
    print("TAP version 13")
    number = failed = 0

    def say(good: bool, words: str) -> None:
        nonlocal number, failed
        number += 1
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - {words}")

    part, ended = "", set()
    for line in console.splitlines():
        if match := re.match(r"@@ begin (.*)", line):
            part = match.group(1)
        elif match := re.match(r"@@ end (.*) (\d+)$", line):
            ended.add(match.group(1))
            say(match.group(2) == "0", f"{match.group(1)} ends well")
        elif (match := RESULT.match(line)) and part:
            say(match.group(1) == "ok", f"{part}: {match.group(2)}")
        else:
            print(f"# {line}")
    for name in ("kernel", "doctor", "root", "ordinary user"):
        if name not in ended:
            say(False, f"{name} came to its end")
    print(f"1..{number}")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/qemu", description=__doc__)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build")
    parser.add_argument("cases", nargs="*", metavar="GUEST/MODE", help="others than the core")
    args = parser.parse_args()
    build = args.build.resolve()
    cache = build / "qemu"
    cache.mkdir(exist_ok=True)
    try:
        for name in NEEDED:
            if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
                raise Skip(f"'{name}' is not installed")
        top = kernel(cache)
        make_initrd(top, cache / "initrd", cache / "initrd.img")
        make_root(cache / "root", build, args.cases or CASES)
    except Skip as why:
        print(f"TAP version 13\n1..0 # SKIP {why}")
        return 0
    make_disk(cache / "root", cache / "disk.img")
    shutil.rmtree(cache / "root")
    console = boot(top, cache / "initrd.img", cache / "disk.img", cache / "console.log")
    (cache / "disk.img").unlink()
    return report(console)


if __name__ == "__main__":
    sys.exit(main())

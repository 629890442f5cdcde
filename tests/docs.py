"""Check that what is documented is what there is. Prints TAP.

Commands are those that `mulligan --help` lists, environment variables those
that src/ names, options those that each command's --help lists. And the
repository names no directory of the machine that it was written on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

COMMAND = re.compile(r"^  ([a-z]+) ", re.M)
OPTION = re.compile(r"^ +(?:-\w, )?--([a-z-]+)", re.M)
OPTION_TOLD = re.compile(r"\*--([a-z-]+)")
VARIABLE = re.compile(r'"(MULLIGAN_[A-Z_]+)"')
# whose options a command has beside its own: its section says so
INHERITS = {"run": "create"}
# argp's own, in every command
COMMON_OPTIONS = {"help", "usage"}
# Directories of somebody's machine; the slash apart, or this file would be found.
SLASH = "/"
MACHINE_PATH = re.compile(r"(?<![\w.$}*-])" + SLASH + r"(?:work/|home/[a-z]|tmp/(?:build|brief))")
# Made-up users: file -> what it may say.
MADE_UP = {
    "tests/qemu/inside.sh": f"{SLASH}home/mulligan-test",
    "tests/unit/test_user.c": f"{SLASH}home/ann",
}
# Read by programs outside src/, or by the harness: not the tool's own.
NOT_ENVIRONMENT = {"MULLIGAN_VERSION"}
SKIPPED_DIRECTORIES = re.compile(r"^(\.git|\.cache|__pycache__|build.*)$")


def repository_files(top: Path) -> list[Path]:
    """All files but those of build directories and of git."""
    found = []
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not SKIPPED_DIRECTORIES.match(name)]
        found += [Path(folder, name) for name in names]
    return sorted(found)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def help_of(tool: Path, *words: str) -> str:
    return subprocess.run([tool, *words, "--help"], check=True, capture_output=True,
                          text=True).stdout


def has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def check_commands(tool: Path, man: str, pages: str) -> list[str]:
    """Every command has a section in the manual and is in the pages."""
    commands = COMMAND.findall(help_of(tool))
    if len(commands) < 10:
        return [f"--help lists only {commands}"]
    wrong = [f"'{name}' has no section in man/mulligan.1.scd" for name in commands
             if not re.search(rf"^## mulligan {name}\b", man, re.M)]
    wrong += [f"'mulligan {name}' is neither in README.md nor in ARCHITECTURE.md"
              for name in commands if not has_word(pages, f"mulligan {name}")]
    wrong += [f"the manual has a section on '{name}', which is no command"
              for name in re.findall(r"^## mulligan ([a-z]+)", man, re.M) if name not in commands]
    return wrong


def check_options(tool: Path, man: str) -> list[str]:
    """Every option of a command is in its section, and no others are."""
    wrong = []
    sections = dict(re.findall(r"^## mulligan ([a-z]+)[^\n]*\n(.*?)(?=^#)", man + "\n#", re.M | re.S))
    common = set(OPTION_TOLD.findall(man[man.find("# OPTIONS OF"):]))
    for name in COMMAND.findall(help_of(tool)):
        there = set(OPTION.findall(help_of(tool, name))) - COMMON_OPTIONS
        told = set(OPTION_TOLD.findall(sections.get(name, "")))
        if name in INHERITS:
            there -= set(OPTION_TOLD.findall(sections[INHERITS[name]]))
        wrong += [f"{name}: --{option} is not in the manual"
                  for option in sorted(there - told - common)]
        wrong += [f"{name}: the manual has --{option}, the command has not"
                  for option in sorted(told - there)]
    return wrong


def check_variables(top: Path) -> list[str]:
    """Every environment variable that src/ names is in ARCHITECTURE.md."""
    text = read(top / "ARCHITECTURE.md")
    names: dict[str, Path] = {}
    for path in repository_files(top / "src"):
        for name in VARIABLE.findall(read(path)):
            names.setdefault(name, path)
    wrong = [f"{name} ({path.relative_to(top)}) is not in ARCHITECTURE.md"
             for name, path in names.items()
             if name not in NOT_ENVIRONMENT and not has_word(text, name)]
    wrong += [f"ARCHITECTURE.md has {name}, which nothing in src/ reads"
              for name in sorted(set(re.findall(r"\bMULLIGAN_[A-Z_]+", text)) - names.keys())]
    return wrong if names else ["src/ names no variable at all"]


def check_files(top: Path) -> list[str]:
    """Every source file is in the map of the code."""
    text = read(top / "ARCHITECTURE.md")
    text = text[text.find("## The code, in reading order"):]
    wrong = []
    for path in repository_files(top / "src"):
        name = path.relative_to(top / "src")
        if path.suffix == ".c" and not has_word(text, path.stem):
            wrong.append(f"src/{name} is not in ARCHITECTURE.md")
    return wrong


def check_paths(top: Path) -> list[str]:
    """No file names a directory of a home or of a build machine."""
    wrong = []
    for path in repository_files(top):
        name = str(path.relative_to(top))
        for number, line in enumerate(read(path).splitlines(), 1):
            for match in MACHINE_PATH.finditer(line):
                allowed = MADE_UP.get(name)
                if not allowed or not line.startswith(allowed, match.start()):
                    wrong.append(f"{name}:{number}: {line.strip()[:100]}")
    return wrong


def check_links(top: Path) -> list[str]:
    """Links of the pages to files of the repository lead somewhere."""
    wrong = []
    for path in repository_files(top):
        if path.suffix != ".md":
            continue
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(path)):
            if not (path.parent / target).exists():
                wrong.append(f"{path.relative_to(top)}: there is no '{target}'")
    return wrong


def report(results: list[tuple[str, list[str]]]) -> int:
    """Print the results as TAP; the exit status."""
    print(f"TAP version 13\n1..{len(results)}")
    for number, (name, wrong) in enumerate(results, 1):
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
        for line in wrong:
            print(f"# {line}")
    return 1 if any(wrong for _, wrong in results) else 0


def main() -> int:
    top, tool = Path(sys.argv[1]), Path(sys.argv[2])
    man = read(top / "man/mulligan.1.scd")
    pages = read(top / "README.md") + read(top / "ARCHITECTURE.md")
    return report([
        ("every command is documented", check_commands(tool, man, pages)),
        ("every option is in the manual", check_options(tool, man)),
        ("every environment variable is documented", check_variables(top)),
        ("every source file is in the map", check_files(top)),
        ("no path of a machine is in the repository", check_paths(top)),
        ("links between pages lead somewhere", check_links(top)),
    ])


if __name__ == "__main__":
    sys.exit(main())

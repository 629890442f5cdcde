"""Check the #include lines of src/ against src/LAYERS. Prints TAP.

A file of layer L may include "M/x.h" only where LAYERS names M for L, or
M is L; no file includes by a relative path or without its layer.
"""

import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def read_layers(path: Path) -> dict[str, set[str]]:
    """The table: layer -> the layers it may include, itself among them."""
    table: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        layer, _, allowed = line.partition(":")
        names = set(allowed.split())
        unknown = names - table.keys()
        if unknown:
            raise ValueError(f"{layer} includes {unknown}, not listed below it")
        table[layer] = names | {layer}
    return table


def check_file(path: Path, layer: str, table: dict[str, set[str]]) -> list[str]:
    """What is wrong with the includes of one file."""
    wrong = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        part = target.split("/")[0]
        if "/" not in target or part not in table:
            wrong.append(f"{path}:{number}: '{target}' does not start with a layer")
        elif part not in table[layer]:
            wrong.append(f"{path}:{number}: {layer} may not include {part} ('{target}')")
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
    src = Path(sys.argv[1]) / "src"
    table = read_layers(src / "LAYERS")
    results = []
    for layer in table:
        wrong = []
        files = sorted(p for p in (src / layer).rglob("*") if p.suffix in (".c", ".h", ".S"))
        for path in files:
            wrong += check_file(path, layer, table)
        results.append((f"layer {layer} includes only what it may ({len(files)} files)", wrong))
    stray = [f"{p}: directory is not in LAYERS" for p in src.iterdir()
             if p.is_dir() and p.name not in table]
    results.append(("every directory of src is a layer", stray))
    return report(results)


if __name__ == "__main__":
    sys.exit(main())

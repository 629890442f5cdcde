"""What the Python programs under trial share."""

import os

MODULUS = 1000003


def finished() -> bool:
    return os.path.exists("finish")


def progress(n: int, value: object) -> None:
    with open("progress.new", "w") as file:
        file.write(f"{n} {value}\n")
    os.rename("progress.new", "progress")

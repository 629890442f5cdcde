#!/usr/bin/env python3
"""Turn a program into an assembler source that carries its bytes.

usage: embed.py PROGRAM SYMBOL OUT.S
"""

import sys


def main() -> None:
    program, symbol, out = sys.argv[1:4]
    with open(program, "rb") as f:
        image = f.read()
    with open(out, "w") as f:
        f.write('\t.section .rodata, "a"\n\t.balign 16\n')
        f.write(f"\t.globl {symbol}, {symbol}_len\n{symbol}:\n")
        for i in range(0, len(image), 16):
            f.write("\t.byte " + ",".join(str(b) for b in image[i : i + 16]) + "\n")
        f.write(f"\t.balign 8\n{symbol}_len:\n\t.quad {len(image)}\n")
        f.write('\t.section .note.GNU-stack, "", @progbits\n')


main()

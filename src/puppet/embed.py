#!/usr/bin/env python3
"""Turn the linked blob into an assembler source that carries its bytes.

usage: embed.py BLOB.elf OBJCOPY NM OUT.S
"""

import subprocess
import sys
import tempfile


def main() -> None:
    elf, objcopy, nm, out = sys.argv[1:5]
    with tempfile.NamedTemporaryFile() as raw:
        subprocess.run([objcopy, "-O", "binary", "-j", ".text", elf, raw.name], check=True)
        with open(raw.name, "rb") as f:
            text = f.read()
    symbols = {}
    for line in subprocess.run([nm, elf], check=True, capture_output=True, text=True).stdout.splitlines():
        fields = line.split()
        symbols[fields[-1]] = int(fields[0], 16)
    if symbols["puppet_entry"] != 0 or len(text) != symbols["puppet_text_end"]:
        sys.exit("embed.py: the blob's layout is not what blob.ld promises")
    with open(out, "w") as f:
        f.write('\t.section .rodata, "a"\n\t.balign 4096\n')
        f.write("\t.globl puppet_blob, puppet_text_bytes, puppet_mem_bytes\npuppet_blob:\n")
        for i in range(0, len(text), 16):
            f.write("\t.byte " + ",".join(str(b) for b in text[i : i + 16]) + "\n")
        f.write("\t.balign 8\n")
        f.write(f"puppet_text_bytes:\n\t.quad {len(text)}\n")
        f.write(f"puppet_mem_bytes:\n\t.quad {symbols['puppet_end']}\n")
        f.write('\t.section .note.GNU-stack, "", @progbits\n')


main()

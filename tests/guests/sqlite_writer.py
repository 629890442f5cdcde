"""Commits rows to a database in a loop; at the end all are there and whole."""

import os
import sqlite3
import sys
import time


def main() -> int:
    go, mode = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "delete"
    db = sqlite3.connect("rows.db", isolation_level=None)
    db.execute(f"PRAGMA journal_mode={mode}")
    db.execute("CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, text TEXT)")
    n = 0
    while not (os.path.exists(go) and n > 20):
        db.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            db.execute("INSERT INTO rows VALUES (?, ?)", (n, "x" * (n % 500)))
            n += 1
        db.execute("COMMIT")
        if n == 9:
            print("ready", flush=True)
        time.sleep(0.003)
    count, highest = db.execute("SELECT count(*), max(n) FROM rows").fetchone()
    whole = db.execute("PRAGMA integrity_check").fetchone()[0]
    other = sqlite3.connect("rows.db").execute("SELECT count(*) FROM rows").fetchone()[0]
    if (count, highest, whole, other) != (n, n - 1, "ok", n):
        print(f"wrote {n}; count {count}, highest {highest}, seen by another {other}, {whole}")
        return 1
    return 0


sys.exit(main())

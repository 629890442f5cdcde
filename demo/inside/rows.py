"""Commits rows to a database, one transaction after the other."""

import sqlite3
import time

db = sqlite3.connect("rows.db", isolation_level=None)
# a rollback renumbers inodes; without a WAL sqlite takes that for a moved file
db.execute("PRAGMA journal_mode=WAL")
db.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, text TEXT)")
print("rows up", flush=True)
while True:
    db.execute("BEGIN IMMEDIATE")
    for _ in range(5):
        db.execute("INSERT INTO rows (text) VALUES (?)", ("row" * 20,))
    db.execute("COMMIT")
    time.sleep(0.002)

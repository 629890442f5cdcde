"""Three processes that write to three SQLite databases, one per journal mode.

Each transaction takes from one account and gives to another, so their sum
stays, and counts itself. A writer knows how many it has committed.
"""

import os
import sqlite3
import sys
import time

from common import finished, progress

WRITERS = 3
ACCOUNTS = 50
MODES = ("delete", "wal", "truncate")


def connect(mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"{mode}.db", timeout=3600, isolation_level=None)
    assert db.execute(f"pragma journal_mode = {mode}").fetchone() == (mode,)
    return db


def create(mode: str) -> None:
    db = connect(mode)
    db.execute("create table accounts (id integer primary key, balance integer, filler)")
    db.execute("create table done (writer integer primary key, n integer)")
    db.execute("create table log (writer integer, n integer, amount integer, filler)")
    db.execute("create unique index by_writer on log (writer, n)")
    for i in range(ACCOUNTS):
        db.execute("insert into accounts values (?, 1000, ?)", (i, "x" * 200))
    for i in range(WRITERS):
        db.execute("insert into done values (?, 0)", (i,))
    db.close()


def transfer(db: sqlite3.Connection, me: int, n: int) -> None:
    amount = (n * 7 + me) % 100
    db.execute("begin immediate")
    db.execute("update accounts set balance = balance - ? where id = ?", (amount, n % ACCOUNTS))
    db.execute("update accounts set balance = balance + ? where id = ?",
               (amount, (n * 3 + me) % ACCOUNTS))
    db.execute("insert into log values (?, ?, ?, ?)", (me, n, amount, os.urandom(300)))
    db.execute("update done set n = ? where writer = ? and n = ?", (n, me, n - 1))
    assert db.execute("select changes()").fetchone() == (1,), "another has counted for us"
    db.execute("commit")


def write(me: int) -> None:
    dbs = [connect(mode) for mode in MODES]
    n = 0
    while not finished():
        n += 1
        for db in dbs:
            transfer(db, me, n)
        if me == 0:
            progress(n, "")
        time.sleep(0.002)   # readers and the other writers have their turn
    for db in dbs:
        assert db.execute("select n from done where writer = ?", (me,)).fetchone() == (n,)
        db.close()


def main() -> None:
    for mode in MODES:
        create(mode)
    children = []
    for me in range(WRITERS):
        child = os.fork()
        if child == 0:
            write(me)
            sys.exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0


main()

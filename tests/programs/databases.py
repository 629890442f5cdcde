"""Databases, with clients that write all the time."""

from __future__ import annotations

from pathlib import Path

from box import Box
from ground import Skip, check, equal
from program import Program, at_length, inside, program, until

MODES = ("delete", "wal", "truncate")


@program
class Sqlite(Program):
    """Three writers, three databases: journal modes delete, wal, truncate."""

    needs = {"python3": "python3", "sqlite3": "sqlite3"}
    guests = ("common.py", "writers.py")
    command = ("/usr/bin/python3", "-B", "writers.py")

    def undisturbed(self, n: int) -> None:
        """The order of the writers is chance; the sums in check are not."""

    def check(self, box: Box) -> None:
        for mode in MODES:
            equal(self.ask(box, mode, "pragma integrity_check; pragma foreign_key_check;"
                           "select sum(balance) from accounts;"
                           "select count(*) from done where n <> (select max(n) from log"
                           " where log.writer = done.writer)"
                           " or n <> (select count(*) from log where log.writer = done.writer)"),
                  "ok 50000 0", mode)

    def finish(self, box: Box) -> None:
        super().finish(box)
        self.check(box)
        for mode in MODES:
            inside(box, f"test ! -s {mode}.db-journal -a ! -e {mode}.db-wal")
        # the accounts are where the log of all transfers leads, from the start
        for mode in MODES:
            equal(self.ask(box, mode, "select count(*) from accounts where balance <> 1000"
                           " - (select total(amount) from log where n % 50 = id)"
                           " + (select total(amount) from log where (n * 3 + writer) % 50 = id)"),
                  "0", mode)

    def ask(self, box: Box, mode: str, query: str) -> str:
        answer = inside(box, f"sqlite3 -cmd '.timeout 60000' {mode}.db '{query}'")
        return " ".join(answer.split())


@program
class Redis(Program):
    """A server that saves in the background, and a client that increments."""

    needs = {"python3": "python3", "redis-server": "redis-server", "redis-cli": "redis-tools"}
    guests = ("common.py", "counting.py")
    command = ("/usr/bin/python3", "-B", "counting.py", "7002")
    options = "--bind 127.0.0.1 --save '' --enable-debug-command yes"

    def prepare(self, box: Box) -> None:
        self.server = self.serve(box, 7002, "--rdb-key-save-delay 500")

    def serve(self, box: Box, port: int, more: str = "") -> str:
        """Start a server, and wait until it answers; its handle."""
        handle = box.start("/bin/sh", "-c", f"exec redis-server --port {port} {self.options} "
                           f"--dbfilename {port}.rdb {more}")
        until(lambda: inside(box, f"redis-cli -p {port} ping || true") == "PONG", "redis")
        return handle

    def moment(self, box: Box) -> None:
        """The middle of a background save."""
        self.work(box)
        until(lambda: self.info(box, "rdb_bgsave_in_progress") == "1", "a background save")

    def check(self, box: Box) -> None:
        super().check(box)
        equal(self.info(box, "rdb_last_bgsave_status"), "ok")
        self.dataset(box, 7002)

    def finish(self, box: Box) -> None:
        """The data are those of another server that took the same steps."""
        super().finish(box)
        until(lambda: self.info(box, "rdb_bgsave_in_progress") == "0", "the end of the save")
        equal(self.info(box, "rdb_last_bgsave_status"), "ok")
        n = self.steps(box)
        self.serve(box, 7003)
        at_length(box, f"/usr/bin/python3 -B counting.py 7003 {n}")
        mine, other = self.dataset(box, 7002), self.dataset(box, 7003)
        equal(mine, other, f"data after {n} steps")
        equal(inside(box, "redis-cli -p 7002 get counter"), str(n))
        equal(inside(box, "redis-cli -p 7002 config set rdb-key-save-delay 0; "
                          "redis-cli -p 7002 debug reload; redis-check-rdb 7002.rdb >/dev/null"),
              "OK\nOK")
        equal(self.dataset(box, 7002), mine, "saved and loaded again")
        inside(box, "redis-cli -p 7002 shutdown nosave; redis-cli -p 7003 shutdown nosave")
        equal(box.wait(self.server)["exit_code"], 0, "the server's end")

    def dataset(self, box: Box, port: int) -> list[str]:
        """Number of keys and digest of all values, of one moment."""
        answer = inside(box, f"printf 'MULTI\\ndbsize\\ndebug digest\\nget counter\\nEXEC\\n' | "
                        f"redis-cli -p {port}").split("\n")
        check(len(answer) == 7, f"redis-cli: {answer}")
        return answer[4:]

    def info(self, box: Box, field: str) -> str:
        lines = inside(box, "redis-cli -p 7002 info persistence").split()
        return dict(line.split(":", 1) for line in lines if ":" in line)[field]


@program
class Postgres(Program):
    """A server with its processes, and pgbench, whose sums must agree."""

    needs = {"pg_lsclusters": "postgresql", "setpriv": "util-linux"}
    guests = ("bench.sh",)
    settings = ("listen_addresses = ''", "unix_socket_directories = '/w'", "port = 7004",
                "shared_buffers = 32MB", "max_wal_size = 64MB", "min_wal_size = 32MB",
                "checkpoint_timeout = 30s", "autovacuum_naptime = 1s")
    user = "setpriv --reuid=postgres --regid=postgres --clear-groups"

    def prepare(self, box: Box) -> None:
        """A cluster with a database for pgbench; the server runs."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        if not found or not (found[-1] / "initdb").exists():
            raise Skip("no PostgreSQL server here (package postgresql)")
        self.bin = found[-1]
        if inside(box, f"{self.user} true 2>&1 || echo no"):
            raise Skip("PostgreSQL does not run as root, and there is no second user id here")
        inside(box, "chown postgres /w")
        at_length(box, f"{self.user} {self.bin}/initdb -D data -A trust -k >/dev/null")
        for line in self.settings:
            inside(box, f"echo \"{line}\" >>data/postgresql.conf")
        self.server = self.serve(box)
        self.ask(box, "create database bench", "postgres")
        self.ask(box, "create extension amcheck")
        at_length(box, f"{self.bin}/pgbench -q -i --foreign-keys -h /w -p 7004 -U postgres bench 2>&1")
        self.command = ("/bin/sh", "-c", f"PGPORT=7004 PGUSER=postgres exec {self.user}"
                        f" /bin/sh bench.sh {self.bin}")

    def serve(self, box: Box) -> str:
        """Start the server, and wait until it answers; its handle."""
        handle = box.start("/bin/sh", "-c", f"exec {self.user} {self.bin}/postgres -D /w/data")
        until(lambda: inside(box, f"{self.bin}/pg_isready -q -h /w -p 7004 && echo yes || true")
              == "yes", "PostgreSQL")
        return handle

    def state(self, box: Box) -> tuple[int, str]:
        return int(self.ask(box, "select count(*) from pgbench_history")), ""

    def undisturbed(self, n: int) -> None:
        """The order of the clients is chance; the sums in check are not."""

    def check(self, box: Box) -> None:
        """In one snapshot the balances are what the history says, each of them."""
        equal(self.ask(box, "select (select count(distinct s) from (values"
                       " ((select sum(abalance) from pgbench_accounts)),"
                       " ((select sum(tbalance) from pgbench_tellers)),"
                       " ((select sum(bbalance) from pgbench_branches)),"
                       " ((select coalesce(sum(delta), 0) from pgbench_history))) sums(s)),"
                       " (select count(*) from pgbench_accounts a where abalance <>"
                       " (select coalesce(sum(delta), 0) from pgbench_history h"
                       " where h.aid = a.aid) and aid in (select aid from pgbench_history"
                       " order by mtime desc limit 200))"), "1|0", "the sums")
        equal(self.ask(box, "select count(*) from pg_class, bt_index_check(oid)"
                       " where relname like 'pgbench%pkey'"), "3", "its indexes")

    def finish(self, box: Box) -> None:
        """It ends in order, and is right after it was started again."""
        inside(box, "touch finish")
        done = box.wait(self.handle)
        equal((done.get("exit_code"), done.get("signal")), (0, None),
              f"pgbench's end, {inside(box, 'cat bench.log')!r}")
        self.check(box)
        at_length(box, f"{self.bin}/pg_amcheck --heapallindexed -h /w -p 7004 -U postgres bench")
        n = self.steps(box)
        inside(box, "kill -INT $(head -1 data/postmaster.pid)")
        equal(box.wait(self.server)["exit_code"], 0, f"its end, {box.output(self.server)!r}")
        equal(at_length(box, f"{self.user} {self.bin}/pg_checksums -D data | grep Bad"),
              "Bad checksums:  0")
        self.serve(box)
        equal(self.steps(box), n, "what it had")
        self.check(box)

    def ask(self, box: Box, query: str, database: str = "bench") -> str:
        return inside(box, f"{self.bin}/psql -X -At -h /w -p 7004 -U postgres {database} -c "
                      f'"{query}"')


@program
class PostgresSegments(Postgres):
    """The same with all its shared memory in System V segments."""

    slow = True
    settings = (*Postgres.settings, "shared_memory_type = sysv",
                "dynamic_shared_memory_type = sysv")

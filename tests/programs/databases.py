"""Databases, with clients that write all the time."""

from __future__ import annotations

from box import Box
from ground import check, equal
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

"""A client of redis that goes on incrementing, on one connection.

With a number: that many steps, at once. Without: until the file finish, with
a background save as often as one has ended.
"""

import socket
import sys

from common import MODULUS, finished, progress


class Redis:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def call(self, *words: object) -> str:
        parts = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        answer = self.file.readline().decode().rstrip("\r\n")
        if answer[0] == "$":
            return self.file.read(int(answer[1:]) + 2).decode()[:-2]
        return answer


def main() -> None:
    redis = Redis(int(sys.argv[1]))
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else None
    n = value = 0
    while n < steps if steps is not None else not finished():
        n += 1
        answer = redis.call("incr", "counter")
        assert answer == f":{n}", f"step {n}: {answer}"
        value = (value * 31 + int(answer[1:])) % MODULUS
        assert redis.call("set", f"key:{n % 500}", f"{value}" * 20) == "+OK"
        assert redis.call("rpush", f"list:{n % 7}", value)[0] == ":"
        assert redis.call("hset", f"hash:{n % 11}", f"field:{n % 101}", value)[0] == ":"
        if steps is None:
            answer = redis.call("bgsave")
            assert answer[0] == "+" or "already in progress" in answer, answer
            progress(n, value)


main()

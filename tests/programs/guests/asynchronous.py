"""An asyncio server and a client that stays connected: two processes."""

import asyncio
import os
import sys

from common import MODULUS, finished, progress

PORT = 7001


async def serve(ready: int) -> None:
    """Each connection has a value of its own, and a timer that ticks."""
    over = asyncio.Event()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        value = 0
        while line := await reader.readline():
            value = (value * 31 + int(line)) % MODULUS
            await asyncio.sleep(0.003)
            writer.write(b"%d\n" % value)
            await writer.drain()
        writer.close()
        over.set()

    server = await asyncio.start_server(connection, "127.0.0.1", PORT)
    os.write(ready, b"!")
    await over.wait()
    server.close()
    await server.wait_closed()


async def ask() -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    n = value = 0
    while not finished():
        n += 1
        value = (value * 31 + n) % MODULUS
        writer.write(b"%d\n" % n)
        answer = int(await asyncio.wait_for(reader.readline(), 3600))
        assert answer == value, f"step {n}: {answer}, not {value}"
        progress(n, answer)
    writer.close()
    await writer.wait_closed()


def main() -> None:
    heard, ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        asyncio.run(serve(ready))
        sys.exit(0)
    os.close(ready)
    assert os.read(heard, 1) == b"!"
    asyncio.run(ask())
    assert os.waitpid(child, 0)[1] == 0


main()

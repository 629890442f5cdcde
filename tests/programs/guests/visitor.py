"""A visitor of nginx: one connection that stays, and a new one now and then.

Each step puts a value into a file of the site, and the next one is what nginx
says that it is.
"""

import http.client
import os
import time

from common import MODULUS, finished, progress

PORT = 7005


def connect() -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=3600)
    while True:
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            time.sleep(0.01)


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status == 200 and not response.will_close, (path, response.status)
    return body


def main() -> None:
    os.makedirs("site", exist_ok=True)
    long = bytes(range(256)) * 2000
    with open("site/long", "wb") as file:
        file.write(long)
    steady = connect()
    n = value = 0
    while not finished():
        n += 1
        with open(f"site/{n % 8}", "w") as file:
            file.write(f"{(value * 31 + n) % MODULUS}\n")
        value = int(get(steady, f"/{n % 8}"))
        if n % 5 == 0:
            other = connect()
            assert get(other, "/long") == long
            other.close()
        progress(n, value)
    steady.close()


main()

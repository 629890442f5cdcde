"""A multiprocessing pool that is nearly always in the middle of a map."""

import multiprocessing
import time

from common import MODULUS, finished, progress

CHUNKS = 40
done = multiprocessing.Value("i", 0)
lock = multiprocessing.Lock()


def work(i: int) -> int:
    time.sleep(0.001)
    with lock:
        done.value += 1     # with a lock of its own inside of ours
    return sum(range(i % 7, 2000)) and i


def main() -> None:
    n = value = 0
    with multiprocessing.Pool(4) as pool:
        while not finished():
            n += 1
            results = pool.map(work, range(n, n + CHUNKS), chunksize=1)
            assert results == list(range(n, n + CHUNKS)), f"step {n}: {results}"
            assert done.value == n * CHUNKS, f"step {n}: {done.value} items"
            value = (value * 31 + results[0]) % MODULUS
            progress(n, value)
        pool.close()
        pool.join()


if __name__ == "__main__":
    main()

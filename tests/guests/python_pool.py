"""A pool of processes with its locks, queues and a block of shared memory."""
import multiprocessing
import os
import sys
import time
from multiprocessing import shared_memory


def square(n):
    time.sleep(0.002)
    return n * n


def bump(lock, name, go):
    block = shared_memory.SharedMemory(name=name)
    while not os.path.exists(go):
        with lock:
            count = int.from_bytes(block.buf[:8], "little")
            block.buf[:8] = (count + 1).to_bytes(8, "little")
            block.buf[8:16] = (count + 1).to_bytes(8, "little")
        time.sleep(0.001)
    block.close()


def main(go):
    multiprocessing.set_start_method("fork")
    lock = multiprocessing.Lock()
    block = shared_memory.SharedMemory(create=True, size=4096)
    bumpers = [multiprocessing.Process(target=bump, args=(lock, block.name, go)) for _ in range(2)]
    for process in bumpers:
        process.start()
    with multiprocessing.Pool(2) as pool:
        assert pool.map(square, range(20)) == [n * n for n in range(20)]
        print("ready", flush=True)
        rounds = 0
        while not os.path.exists(go):
            assert pool.map(square, range(10)) == [n * n for n in range(10)]
            rounds += 1
        assert rounds
    for process in bumpers:
        process.join()
        assert process.exitcode == 0, process.exitcode
    assert block.buf[:8] == block.buf[8:16]
    assert int.from_bytes(block.buf[:8], "little") > 0
    block.close()
    block.unlink()


main(sys.argv[1])

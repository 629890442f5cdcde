"""A threaded counter server on a named pipe, with a client thread of its own."""

import os
import sys
import threading
import time

GO = sys.argv[1]
lock = threading.Lock()
count = 0
stop = threading.Event()
background = [0, 0]


def serve(requests, answers) -> None:
    """Answer every request line with the next number."""
    global count
    for line in requests:
        with lock:
            count += int(line)
            answers.write(f"{count}\n")
            answers.flush()


def busy(index: int) -> None:
    while not stop.is_set():
        background[index] += 1
        if background[index] % 1000 == 0:
            time.sleep(0.001)


def main() -> int:
    os.mkfifo("requests")
    os.mkfifo("answers")
    ends = {}

    def open_server() -> None:
        ends["requests"] = open("requests")
        ends["answers"] = open("answers", "w")

    opener = threading.Thread(target=open_server)
    opener.start()
    to_server, from_server = open("requests", "w"), open("answers")
    opener.join()
    threads = [threading.Thread(target=serve, args=(ends["requests"], ends["answers"]))]
    threads += [threading.Thread(target=busy, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    asked = 0
    while not (os.path.exists(GO) and asked >= 10):
        to_server.write("1\n")
        to_server.flush()
        asked += 1
        answer = int(from_server.readline())
        if answer != asked:
            print(f"the server answered {answer} to request {asked}")
            os._exit(1)
        if asked == 3:
            print("ready", flush=True)
        time.sleep(0.002)
    stop.set()
    to_server.close()
    for thread in threads:
        thread.join(10)
    if any(thread.is_alive() for thread in threads) or min(background) == 0:
        print("threads did not end")
        os._exit(1)
    return 0


sys.exit(main())

"""A threaded server: every line on the pipe `ask` is answered with the next
number on the pipe `answer`, while two more threads keep busy."""

import threading
import time

count = 0
busy = [0, 0]


def serve() -> None:
    global count
    while True:
        with open("ask") as requests:
            for _ in requests:
                count += 1
                with open("answer", "w") as answers:
                    answers.write(f"{count}\n")


def spin(i: int) -> None:
    while True:
        busy[i] += 1
        if busy[i] % 200 == 0:
            time.sleep(0.001)


for n in range(2):
    threading.Thread(target=spin, args=(n,)).start()
print("server up", flush=True)
serve()

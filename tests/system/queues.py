"""What waits in the queues of sockets."""

from __future__ import annotations

from keeper import Refused
from ground import Ground, check, equal, test

# two messages, the second without a byte; says at the end what came
EMPTY_BEHIND = """
import os, socket, time
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
one.send(b"abc")
one.send(b"")
def receive():
    return other.recv(16, socket.MSG_DONTWAIT)
print("ready", flush=True)
while not os.path.exists("/dev/shm/end"):
    time.sleep(0.005)
print([receive(), receive()], flush=True)
print("drained", flush=True)
while not os.path.exists("/dev/shm/again"):
    time.sleep(0.005)
one.send(b"x")
print(receive(), flush=True)
"""


@test
def empty_message_behind_others_is_saved_once_and_then_refused(g: Ground) -> None:
    box = g.create()
    handle = box.start("/usr/bin/python3", "-c", EMPTY_BEHIND)
    box.await_output(handle, "ready\n")
    checkpoint = box.checkpoint()
    for _ in range(2):
        try:
            box.checkpoint()
        except Refused as refusal:
            check("empty message" in str(refusal), str(refusal))
        else:
            check(False, "was not refused")
    box.shell("touch /dev/shm/end")
    box.await_output(handle, "drained\n")
    drained = box.checkpoint()
    for _ in range(2):
        box.rollback(checkpoint)
        box.shell("touch /dev/shm/end /dev/shm/again")
        box.wait(handle)
        equal(box.output(handle).splitlines()[1:], ["[b'abc', b'']", "drained", "b'x'"])
    box.rollback(drained)
    box.shell("touch /dev/shm/again")
    box.wait(handle)
    equal(box.output(handle).splitlines()[-1], "b'x'")

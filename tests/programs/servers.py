"""Servers with runtimes of their own, and clients that keep a connection."""

from __future__ import annotations

from box import Box
from program import Program, at_length, inside, program, put


@program
class Node(Program):
    """An HTTP server and its client, which keeps one connection alive."""

    needs = {"node": "nodejs"}
    guests = ("server.js", "client.js")
    command = ("/bin/sh", "-c", "node server.js & node client.js && wait $!")


@program
class Nginx(Program):
    """A master, two workers, a connection that stays alive and new ones."""

    needs = {"nginx": "nginx-light", "python3": "python3"}
    guests = ("common.py", "nginx.conf", "visitor.py")
    command = ("/bin/sh", "-c", "mkdir -p temporary; nginx -p /w -c nginx.conf & "
               "/usr/bin/python3 -B visitor.py && kill -QUIT $! && wait $!")


@program
class Ssh(Program):
    """A server with a live session, and its client."""

    needs = {"sshd": "openssh-server", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
    guests = ("common.py", "session.py")
    command = ("/bin/sh", "-c", "/usr/sbin/sshd -D -e -f config & "
               "/usr/bin/python3 -B session.py && kill $! && { wait $!; true; }")

    def prepare(self, box: Box) -> None:
        """Keys, and the user that the server looks for."""
        inside(box, "ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -q -t ed25519 -N '' "
               "-f host && mkdir -p /run/sshd /var/empty && { grep -q ^sshd: /etc/passwd || "
               "echo sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin >>/etc/passwd; }")
        put(box, "config", "Port 7007\nListenAddress 127.0.0.1\nHostKey /w/host\n"
            "AuthorizedKeysFile /w/key.pub\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
            "PidFile /w/sshd.pid\n")


@program
class Java(Program):
    """An HTTP server with a pool of threads, and a client."""

    needs = {"java": "openjdk-17-jdk-headless", "javac": "openjdk-17-jdk-headless"}
    guests = ("Server.java",)
    command = ("java", "-Xmx64m", "Server")

    def prepare(self, box: Box) -> None:
        at_length(box, "javac -J-Xmx128m -J-XX:TieredStopAtLevel=1 Server.java")


@program
class Go(Program):
    """A server and a client with twenty connections, in goroutines."""

    needs = {"go": "golang-go"}
    guests = ("go.mod", "server.go")
    command = ("./server",)
    slow = True

    def prepare(self, box: Box) -> None:
        """Built in the sandbox, from the standard library's sources."""
        at_length(box, "PATH=$PATH:/usr/local/go/bin CGO_ENABLED=0 GOFLAGS=-mod=mod "
                  "GOCACHE=/w/cache GOPATH=/w/go go build -o server server.go")
        at_length(box, "rm -rf cache go")

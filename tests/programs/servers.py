"""Servers with runtimes of their own, and clients that keep a connection."""

from __future__ import annotations

from box import Box
from program import Program, at_length, program


@program
class Node(Program):
    """An HTTP server and its client, which keeps one connection alive."""

    needs = {"node": "nodejs"}
    guests = ("server.js", "client.js")
    command = ("/bin/sh", "-c", "node server.js & node client.js && wait $!")


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

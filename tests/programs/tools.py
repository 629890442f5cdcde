"""Tools of a developer, which come and go in many short processes."""

from __future__ import annotations

from box import Box
from ground import check, equal
from program import STUCK_S, Program, at_length, inside, program, until

FILES = 8


@program
class GitGc(Program):
    """A repository that is packed while it grows."""

    needs = {"git": "git", "pgrep": "procps"}
    guests = ("collect.sh",)
    command = ("/bin/sh", "collect.sh")

    def undisturbed(self, n: int) -> None:
        """Compared at the end: the commit's name tells of all that led to it."""

    def moment(self, box: Box) -> None:
        """The middle of packing."""
        until(lambda: inside(box, "pgrep -x git -a | grep -c pack-objects || true") != "0",
              "git pack-objects")

    def check(self, box: Box) -> None:
        n, commit = self.state(box)
        equal(inside(box, f"git -C repo rev-list --count {commit}"), str(n), "commits")

    def finish(self, box: Box) -> None:
        super().finish(box)
        n, commit = self.state(box)
        equal(at_length(box, f"sh collect.sh again other {n}"), commit,
              f"the commit of {n} steps that nothing happened to")
        equal(inside(box, "git -C repo fsck --full --strict 2>&1; git -C repo status --short"), "")
        equal(inside(box, "ls repo/.git/objects/pack | grep -c tmp || true"), "0", "left by gc")


@program
class Make(Program):
    """gcc and make -j4, in the middle of a build."""

    needs = {"make": "make", "gcc": "gcc"}
    guests = ("tree.sh", "build.sh")
    command = ("/bin/sh", "build.sh")

    def prepare(self, box: Box) -> None:
        at_length(box, f"sh tree.sh {FILES}; sh build.sh once")
        self.want = inside(box, "cut -c1-64 want")

    def undisturbed(self, n: int) -> str:
        return self.want

    def moment(self, box: Box) -> None:
        """A build that is neither empty nor whole."""
        def half_way() -> bool:
            return 2 <= int(inside(box, "ls tree | grep -c '[.]o$' || true")) <= FILES - 2

        until(half_way, "half a build")

    def damage(self, box: Box) -> None:
        inside(box, "until rm -rf tree; do :; done")
        check(box.wait(self.handle, STUCK_S)["exit_code"] != 0, "built without its files")

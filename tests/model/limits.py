"""What docs/limits.md says cannot be saved, as far as actors do it."""

from __future__ import annotations

import os
from typing import Iterator

from world import World


def refusals(w: World) -> Iterator[str]:
    """Words of the refusals that a checkpoint may now end in."""
    sessions = {p.pid: p.session for p in w.processes.values()}
    for p in [*w.processes.values(), *w.zombies]:
        if p.session not in (p.pid, sessions.get(p.ppid, p.session)):
            yield "session"
    for p in w.processes.values():
        if any(m.inode and not m.shared and m.inode.changes != m.changes
               for m in p.areas.values()):
            yield "a private mapping of"
        if os.geteuid() and any(m.inode and not m.inode.links and
                                all(o.inode is not m.inode for o in w.opens())
                                for m in p.areas.values()):
            yield "cannot be opened again"
            yield "a shared mapping of a removed file"
        # overlayfs may show a file with several names under several numbers
        if os.geteuid() and any(h.what.inode and h.what.inode.links for h in p.fds.values()):
            yield "its name was removed, and it had others"
    for what in w.opens():
        if what.queue and what.queue.messages and what.error:
            yield "a socket with an error and messages"

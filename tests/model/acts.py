"""All acts, and the choice of one."""

from __future__ import annotations

import importlib
import random

from acting import ACTS, Act
from world import World

for _module in ("act_files", "act_memory", "act_queues", "act_processes"):
    importlib.import_module(_module)

# whoever imports what first, a seed means the same
TABLE = sorted(ACTS, key=lambda row: row[1].__name__)
WEIGHTS = [weight for weight, _ in TABLE]


def choose(w: World, r: random.Random) -> Act:
    """One act that can be done now."""
    while True:
        p = w.processes[r.choice(sorted(w.processes))]
        chooser = r.choices(TABLE, WEIGHTS)[0][1]
        if done := chooser(w, r, p):
            return done

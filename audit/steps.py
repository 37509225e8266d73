"""How many steps every loop of a run took: chosen once, and kept for those who go on with it or replay it."""

from __future__ import annotations

from collections.abc import Mapping

from atm.errors import AtmError
from atm.store import RunStore, StoredRun
from attacks.budget import Plan

STEPS = "steps.jsonl"  # of the run folder


def steps_of(run: StoredRun) -> dict[str, int]:
    """How many steps each loop took.

    Raises:
        AtmError: a line says something else.
    """
    found = {}
    for number, record in enumerate(run.records(STEPS), 1):
        loop, steps = record.get("loop"), record.get("steps")
        if not isinstance(loop, str) or not isinstance(steps, int) or steps < 0:
            raise AtmError(f"{run.path / STEPS}, line {number} does not say how many steps a loop took")
        found[loop] = steps
    return found


def plan_of(folder: RunStore, replayed: Mapping[str, int]) -> Plan:
    """Steps that this run, or the one that is replayed, chose before; all choices are on disk before they count."""

    def record(loop: str, steps: int) -> None:
        folder.append(STEPS, {"loop": loop, "steps": steps})

    known = steps_of(folder)
    for loop in [loop for loop in replayed if loop not in known]:
        record(loop, replayed[loop])
    return Plan({**replayed, **known}, record)

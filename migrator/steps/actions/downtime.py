"""How long the tasks waited: from the first signal to a legacy worker until everything lies where ready workers are.

Moments are taken from the clock since boot, which nobody sets; the wall clock only steps in when the machine was
rebooted in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from migrator.state.journal import EntryKind, JournalEntry, Phase
from migrator.workers.drivers.process_identity import boot_id


def moment() -> dict[str, Any]:
    """Return now, as it goes into the journal."""
    return {"boot_id": boot_id(), "boot_s": time.clock_gettime(time.CLOCK_BOOTTIME), "wall_s": time.time()}


def measure_downtime(entries: Iterable[JournalEntry], phase: Phase) -> float | None:
    """Return the seconds until all lies where ready workers are; None if there was no transfer.

    They begin with the first stop signal. Forward the unified workers have been ready for long when the transfer ends;
    back the legacy ones start meanwhile.
    """
    stops = "stop_workers" if phase is Phase.FORWARD else "start_workers"
    begins, moves, ends = [], [], []
    for entry in entries:
        if entry.phase is phase and entry.mark is EntryKind.DONE:
            if entry.step == stops and "began" in entry.data:
                begins.append(entry.data["began"])
            if entry.step == "transfer" and "ended" in entry.data:
                moves.append(entry.data["ended"])
            if phase is Phase.BACK and entry.step == "stop_workers" and "ended" in entry.data:
                ends.append(entry.data["ended"])
    if not begins or not moves:
        return None
    return round(max(between(begins[0], end) for end in (moves[-1], *ends)), 3)


def between(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the seconds from one moment to another."""
    clock = "boot_s" if first["boot_id"] == second["boot_id"] else "wall_s"
    return float(second[clock]) - float(first[clock])

"""How long the tasks waited: from the first signal to a legacy worker until everything lies where ready workers are.

Moments are taken from the clock since boot, which nobody sets; the wall clock only steps in when the machine was
rebooted in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from migrator.journal import Entry, Mark, Phase
from migrator.workers.identity import boot_id


def moment() -> dict[str, Any]:
    """Return now, as it goes into the journal."""
    return {"boot_id": boot_id(), "boot_s": time.clock_gettime(time.CLOCK_BOOTTIME), "wall_s": time.time()}


def measure_gap(entries: Iterable[Entry], phase: Phase) -> float | None:
    """Return the seconds between the first stop signal and the end of the transfer; None if there was no transfer."""
    stops, moves = ("stop_workers", "transfer") if phase is Phase.FORWARD else ("start_workers", "transfer")
    begins, ends = [], []
    for entry in entries:
        if entry.phase is phase and entry.mark is Mark.DONE:
            if entry.step == stops and "began" in entry.data:
                begins.append(entry.data["began"])
            if entry.step == moves and "ended" in entry.data:
                ends.append(entry.data["ended"])
    return round(between(begins[0], ends[-1]), 3) if begins and ends else None


def between(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the seconds from one moment to another."""
    clock = "boot_s" if first["boot_id"] == second["boot_id"] else "wall_s"
    return float(second[clock]) - float(first[clock])

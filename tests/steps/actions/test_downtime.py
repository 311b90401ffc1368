"""The gap is measured by the clock since boot, so that a wall clock that jumps changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import time_machine

from migrator.state.journal import EntryKind, JournalEntry, Phase
from migrator.steps.actions.downtime import between, measure_downtime, moment


def at(boot_s: float, wall_s: float, boot: str = "this boot") -> dict[str, Any]:
    return {"boot_id": boot, "boot_s": boot_s, "wall_s": wall_s}


def line(step: str, data: dict[str, Any], phase: Phase = Phase.FORWARD) -> JournalEntry:
    return JournalEntry(at=datetime.now(UTC), run=1, phase=phase, mark=EntryKind.DONE, step=step, action="a", data=data)


def test_a_wall_clock_that_jumps_an_hour_changes_nothing() -> None:
    first = moment()
    with time_machine.travel(first["wall_s"] - 3600, tick=True):
        second = moment()
    assert second["wall_s"] < first["wall_s"] - 3000, "the wall clock was turned back"
    assert 0 <= between(first, second) < 5


def test_after_a_reboot_the_wall_clock_is_all_there_is() -> None:
    assert between(at(9000.0, 100.0), at(3.0, 160.0, boot="next boot")) == 60


def test_from_the_first_signal_to_the_end_of_the_last_move() -> None:
    lines = [
        line("stop_workers", {"families": {}}),
        line("stop_workers", {"began": at(10.0, 0)}),
        line("stop_workers", {"began": at(11.0, 0)}),
        line("transfer", {"moved": 1, "ended": at(13.5, 0)}),
        line("verify", {"moved": 0}),
    ]
    assert measure_downtime(lines, Phase.FORWARD) == 3.5
    assert measure_downtime(lines, Phase.BACK) is None
    assert measure_downtime(lines[:3], Phase.FORWARD) is None


@pytest.mark.parametrize("phase", list(Phase))
def test_the_way_back_counts_from_the_unified_workers(phase: Phase) -> None:
    lines = [
        line("start_workers", {"began": at(20.0, 0)}, Phase.BACK),
        line("transfer", {"moved": 1, "ended": at(26.0, 0)}, Phase.BACK),
    ]
    assert measure_downtime(lines, phase) == (6.0 if phase is Phase.BACK else None)
    late = line("stop_workers", {"pid": 7, "ended": at(27.5, 0)}, Phase.BACK)
    assert measure_downtime([*lines, late], Phase.BACK) == 7.5, "the messages are there before a worker is"
    early = line("stop_workers", {"pid": 7, "ended": at(21.0, 0)}, Phase.BACK)
    assert measure_downtime([*lines, early], Phase.BACK) == 6.0
    assert measure_downtime([lines[0], late], Phase.BACK) is None

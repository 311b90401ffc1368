"""Firing times of schedules, also across daylight saving changes; every kind registers itself by its file's name."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from checks.kinds.schedule import clock_changes, firings
from checks.registry import kinds

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def test_kinds_are_the_files_of_the_folder() -> None:
    assert list(kinds()) == ["imports", "policy", "schedule", "signature", "wire"]


def test_a_crontab_fires_in_its_zone() -> None:
    times = {"crontab": "30 9 * * mon"}
    assert firings(times, "UTC", MONDAY, 2) == ["2026-03-02T09:30:00+00:00", "2026-03-09T09:30:00+00:00"]
    assert firings(times, "Europe/Berlin", MONDAY, 1) == ["2026-03-02T08:30:00+00:00"]


def test_an_hour_field_alone_fires_every_minute_of_that_hour() -> None:
    every_minute = firings({"crontab": "* 5 * * *"}, "UTC", MONDAY, 61)
    once = firings({"crontab": "0 5 * * *"}, "UTC", MONDAY, 2)
    assert every_minute[0] == once[0] == "2026-03-02T05:00:00+00:00"
    assert every_minute[59] == "2026-03-02T05:59:00+00:00"
    assert every_minute[60] == once[1] == "2026-03-03T05:00:00+00:00"


def test_an_interval_fires_from_the_start() -> None:
    assert firings({"every_s": 90.0}, "UTC", MONDAY, 2) == ["2026-03-02T00:01:30+00:00", "2026-03-02T00:03:00+00:00"]


def test_both_daylight_saving_changes_are_found() -> None:
    days = [change.date().isoformat() for change in clock_changes("Europe/Berlin", MONDAY)]
    assert days == ["2026-03-30", "2026-10-26"]
    assert clock_changes("UTC", MONDAY) == []


@pytest.mark.parametrize("start", [datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 10, 24, 12, tzinfo=UTC)])
def test_firing_continues_across_a_daylight_saving_change(start: datetime) -> None:
    moments = [datetime.fromisoformat(text) for text in firings({"crontab": "15 * * * *"}, "Europe/Berlin", start, 48)]
    steps = {(later - earlier).total_seconds() for earlier, later in pairwise(moments)}
    assert moments == sorted(moments)
    assert steps <= {3600.0, 7200.0}

"""The most likely reason why a task differs between two runs."""

from __future__ import annotations

import pytest

from checks.compare.noise import reason, sample
from checks.compare.normalize import ABSENT

OFFSET_S = 8220.0


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("2026-03-02T12:00:10+00:00", "2026-03-02T14:17:10+00:00", "it follows the clock"),
        ("2026-03-02 12:00:00", "2026-03-02 14:17:01", "it follows the clock"),
        ("2026-11-23T12:00:00+00:00", "2026-11-23T12:00:04+00:00", "it comes from the real time"),
        ("a 0b7e1a4c-1111-4222-8333-123456789abc", "a 9b7e1a4c-1111-4222-8333-123456789abd", "a random id"),
        ("{a, b}", "{b, a}", "the same characters in another order"),
        ([1, 2], [2, 1], "the same items in another order"),
        ([1], [1, 2], "lists of different length"),
        (1.5, 1.7, "a measurement"),
        (ABSENT, 1, "only one of the runs has it"),
        ("a", "b", "it differs from run to run"),
    ],
)
def test_a_reason_is_given(first: object, second: object, expected: str) -> None:
    assert expected in reason(first, second, OFFSET_S)


def test_a_sample_shows_both_runs() -> None:
    first = {"rows": [{"id": 1, "token": "x"}, {"id": 2, "token": "y"}]}
    second = {"rows": [{"id": 1, "token": "x"}, {"id": 2, "token": "z"}]}
    found = sample(("rows", "*", "token"), first, second, OFFSET_S)
    assert (found.path, found.first, found.second) == ("rows.*.token", '"y"', '"z"')
    assert sample(("missing",), first, {"missing": 1}, OFFSET_S).first == '{"$absent":true}'

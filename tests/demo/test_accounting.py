"""Accounting by id: what ran, is waiting or is quarantined; the rest is lost, and a second run is a duplicate."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from migrator.demo.accounting import poll_tally, read_ids, read_runs, tally
from migrator.wire.message import Message, State, System


def ran(folder: Path, *events: tuple[str, int, str], process: int = 1) -> Path:
    with (folder / f"{process}.jsonl").open("ab") as file:
        for identifier, retries, outcome in events:
            event = {"event": "end", "id": identifier, "task": "t", "system": "celery", "retries": retries, "at": 0.0}
            file.write(orjson.dumps({**event, "outcome": outcome}) + b"\n")
            file.write(orjson.dumps({**event, "event": "start", "outcome": None}) + b"\n")
    return folder


def message(identifier: str, state: State = State.READY, attempts: int = 0) -> Message:
    return Message(
        id=identifier, copy_id="c", system=System.CELERY, task="t", queue="q", state=state, attempts=attempts
    )


def test_each_id_is_counted_once(tmp_path: Path) -> None:
    queued = [
        message("waits"),
        message("quarantined", State.QUARANTINED),
        message("dead", State.DEAD),
        message("not ours"),
    ]
    found = tally(
        ["ran", "waits", "quarantined", "dead"], queued, ran(tmp_path, ("ran", 0, "ok")), workers_stopped=True
    )
    assert (found.enqueued, found.run, found.waiting, found.quarantined) == (4, 1, 1, 2)
    assert found.balanced


def test_an_id_that_is_found_nowhere_is_lost(tmp_path: Path) -> None:
    found = tally(["gone"], [], tmp_path, workers_stopped=True)
    assert found.lost == ("gone",)
    assert not found.balanced


def test_the_same_attempt_twice_is_duplicated_and_a_retry_is_not(tmp_path: Path) -> None:
    ran(tmp_path, ("twice", 0, "ok"), ("retried", 0, "retry"))
    ran(tmp_path, ("twice", 0, "ok"), ("retried", 1, "ok"), process=2)
    assert tally(["twice", "retried"], [], tmp_path, workers_stopped=True).duplicated == ("twice",)


def test_what_ran_and_still_waits_would_run_again(tmp_path: Path) -> None:
    ran(tmp_path, ("a", 0, "retry"))
    assert tally(["a"], [message("a")], tmp_path, workers_stopped=True).duplicated == ("a",)
    assert tally(["a"], [message("a")], tmp_path, workers_stopped=False).duplicated == ()
    assert tally(["a"], [message("a", attempts=1)], tmp_path, workers_stopped=True).duplicated == ()


def test_two_copies_of_one_attempt_would_run_twice(tmp_path: Path) -> None:
    assert tally(["a"], [message("a"), message("a", State.CLAIMED)], tmp_path, workers_stopped=True).duplicated == (
        "a",
    )


def test_a_line_that_is_still_being_written_is_skipped(tmp_path: Path) -> None:
    ran(tmp_path, ("a", 0, "ok"))
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b'{"event": "end", "id": "b"')
    assert [run.id for run in read_runs(tmp_path)] == ["a"]


def test_a_message_in_transit_is_searched_for_again(tmp_path: Path) -> None:
    calls = iter([[], [], [message("late")]])
    found = poll_tally(lambda: ["late"], tmp_path, lambda: next(calls), timeout_s=5)
    assert found.balanced and found.waiting == 1


def test_polling_is_bounded(tmp_path: Path) -> None:
    assert poll_tally(lambda: ["gone"], tmp_path, list, timeout_s=0.1).lost == ("gone",)


@pytest.mark.parametrize(("text", "expected"), [(None, []), ("", []), ('{"id": "a"}\n{"id": "b"}\n', ["a", "b"])])
def test_recorded_ids_are_read(tmp_path: Path, text: str | None, expected: list[str]) -> None:
    file = tmp_path / "record.jsonl"
    if text is not None:
        file.write_text(text)
    assert read_ids(file) == expected

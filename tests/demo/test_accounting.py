"""Accounting by id: what ran, what waits, what was kept; the rest is lost, and twice is once too often."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from migrator.demo.accounting import read_ids, read_runs, settle, take
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


def test_each_id_is_in_one_place(tmp_path: Path) -> None:
    lying = [message("waits"), message("kept", State.QUARANTINED), message("dead", State.DEAD), message("not ours")]
    account = take(["ran", "waits", "kept", "dead"], lying, ran(tmp_path, ("ran", 0, "ok")), quiet=True)
    assert (account.enqueued, account.run, account.waiting, account.kept) == (4, 1, 1, 2)
    assert account.balanced


def test_an_id_that_is_nowhere_is_lost(tmp_path: Path) -> None:
    account = take(["gone"], [], tmp_path, quiet=True)
    assert account.lost == ("gone",)
    assert not account.balanced


def test_the_same_attempt_twice_is_duplicated_and_a_retry_is_not(tmp_path: Path) -> None:
    ran(tmp_path, ("twice", 0, "ok"), ("retried", 0, "retry"))
    ran(tmp_path, ("twice", 0, "ok"), ("retried", 1, "ok"), process=2)
    assert take(["twice", "retried"], [], tmp_path, quiet=True).duplicated == ("twice",)


def test_what_ran_and_still_waits_would_run_again(tmp_path: Path) -> None:
    ran(tmp_path, ("a", 0, "retry"))
    assert take(["a"], [message("a")], tmp_path, quiet=True).duplicated == ("a",)
    assert take(["a"], [message("a")], tmp_path, quiet=False).duplicated == ()
    assert take(["a"], [message("a", attempts=1)], tmp_path, quiet=True).duplicated == ()


def test_two_copies_of_one_attempt_would_run_twice(tmp_path: Path) -> None:
    assert take(["a"], [message("a"), message("a", State.CLAIMED)], tmp_path, quiet=True).duplicated == ("a",)


def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    ran(tmp_path, ("a", 0, "ok"))
    with (tmp_path / "1.jsonl").open("ab") as file:
        file.write(b'{"event": "end", "id": "b"')
    assert [run.id for run in read_runs(tmp_path)] == ["a"]


def test_a_message_on_its_way_is_looked_for_again(tmp_path: Path) -> None:
    calls = iter([[], [], [message("late")]])
    account = settle(lambda: ["late"], tmp_path, lambda: next(calls), timeout_s=5)
    assert account.balanced and account.waiting == 1


def test_settling_is_bounded(tmp_path: Path) -> None:
    assert settle(lambda: ["gone"], tmp_path, list, timeout_s=0.1).lost == ("gone",)


@pytest.mark.parametrize(("text", "expected"), [(None, []), ("", []), ('{"id": "a"}\n{"id": "b"}\n', ["a", "b"])])
def test_recorded_ids_are_read(tmp_path: Path, text: str | None, expected: list[str]) -> None:
    file = tmp_path / "record.jsonl"
    if text is not None:
        file.write_text(text)
    assert read_ids(file) == expected

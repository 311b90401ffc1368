"""The book: counts of ordinary messages, ids of unusual ones, and a balance that must be zero."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from migrator.errors import InterruptedRunError, UsageError
from migrator.transfer.ledger import BatchCounts, Ledger
from migrator.translation.result import Translated
from migrator.wire.message import Side, System
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

ADDRESS = QueueAddress(Side.UNIFIED, System.CELERY, "unified")


def _translated(number: int, **changes: object) -> Translated:
    return Translated(b"{}", ADDRESS, f"id-{number}", "task", f"copy-{number}", f"tag-{number}", **changes)  # type: ignore[arg-type]


def _counts(seen: int, published: int, quarantined: int = 0) -> BatchCounts:
    return BatchCounts(
        seen=seen, published=published, already_there=0, quarantined=quarantined, filtered_out=0, without_body=0
    )


def test_ordinary_messages_are_counted_and_unusual_ones_are_found_by_id(tmp_path: Path) -> None:
    quarantined = Quarantined(QuarantineReason.RETIRED_TASK, "why", "old_task", "id-9")
    with Ledger.open(tmp_path / "state" / "book.sqlite3") as book:
        book.begin("forward", "fingerprint")
        odd = _translated(2, dropped=("repeat",))
        book.add("dramatiq:default", [_translated(1), odd], [("copy-9", quarantined)], _counts(3, 2, 1))
        assert book.find("id-1") == ()
        (entry,) = book.find("id-9")
        assert (entry.fate, entry.detail, entry.copy_id) == ("kept:retired-task", "why", "copy-9")
        assert book.find("copy-2")[0].detail == "without effect: repeat"
        assert book.balance() == 0
        book.finish(0)
    assert (tmp_path / "state" / ".gitignore").read_text() == "*\n"


def test_the_balance_counts_what_is_missing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "book.sqlite3") as book:
        first = book.begin("forward", "f")
        book.add("p", [], [], _counts(5, 3))
        book.begin("back", "f")
        book.add("p", [], [], _counts(2, 2))
        assert book.balance() == 0
        assert book.balance(first) == 2


def test_a_book_is_continued_and_survives_odd_names(tmp_path: Path) -> None:
    for _ in range(2):
        with Ledger.open(tmp_path / "book.sqlite3") as book:
            book.begin("forward", "f")
            book.add(
                "p", [], [("\udcff", Quarantined(QuarantineReason.UNREADABLE, "\ud800", "", ""))], _counts(1, 0, 1)
            )
    with sqlite3.connect(tmp_path / "book.sqlite3") as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT run) FROM messages").fetchone() == (2, 2)


def test_a_book_that_is_not_a_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "book.sqlite3").write_text("this is not a database, not at all" * 50)
    with pytest.raises(UsageError, match="the book can't be opened"), Ledger.open(tmp_path / "book.sqlite3"):
        pytest.fail("opened")


def test_a_disk_that_is_full_before_the_run_and_at_its_end(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "book.sqlite3") as book:
        # Like a disk on which nothing can be written at all.
        book._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(InterruptedRunError, match="the book can't be written"):
            book.begin("forward", "f")
        with pytest.raises(InterruptedRunError, match="the messages themselves are safe"):
            book.finish(0)


def test_a_disk_that_is_full_is_a_clear_error(tmp_path: Path) -> None:
    full = pytest.raises(InterruptedRunError, match="the book can't be written")
    with full, Ledger.open(tmp_path / "book.sqlite3") as book:
        book.begin("forward", "f")
        # Like a full disk: not one more page.
        book._connection.execute("PRAGMA max_page_count = 1")
        for number in range(2000):
            quarantined = Quarantined(QuarantineReason.UNREADABLE, "x" * 500, "", f"id-{number}")
            book.add("p", [], [(f"copy-{number}", quarantined)], _counts(1, 0, 1))
        book.flush()

"""The journal: on disk before anybody relies on it, and one run at a time."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shop import DATA, in_child

from migrator.errors import RefusedError, UsageError
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.redaction import redact
from migrator.state.journal import EntryKind, JournalEntry, JournalError, JournalReader, Phase, entry, open_journal
from migrator.state.run_lock import run_lock


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "migration.toml").write_text((DATA / "migration.toml").read_text())
    return load_plan(tmp_path / "migration.toml")


def write(plan: Plan, *, run: int = 1, text: str = "") -> None:
    open_journal(plan).write(entry(run, Phase.FORWARD, EntryKind.NOTE, "transfer", text=text, data={"moved": 3}))


def entries_of(file: Path) -> tuple[JournalEntry, ...]:
    return JournalReader(file).entries()


def test_what_somebody_else_appends_or_puts_in_its_place_is_read(plan: Plan) -> None:
    journal = open_journal(plan)
    assert journal.entries() == ()
    for number in (1, 2, 3):
        write(plan, text=f"line {number}")
        assert [line.text for line in journal.entries()] == [f"line {seen}" for seen in range(1, number + 1)]
    with journal.file.open("ab") as torn:
        torn.write(b'{"at":"2026-01-0')
    assert len(journal.entries()) == 3
    write(plan, text="line 4")
    assert [line.text for line in journal.entries()] == [line.text for line in entries_of(journal.file)]
    other = journal.file.with_suffix(".other")
    other.write_bytes(b"".join(journal.file.read_bytes().splitlines(keepends=True)[2:]))
    other.replace(journal.file)
    assert [line.text for line in journal.entries()] == ["line 3", "line 4"]
    journal.file.unlink()
    assert journal.entries() == ()


def test_what_is_written_is_read_again(plan: Plan) -> None:
    write(plan, run=1)
    write(plan, run=2, text="second")
    (second,) = open_journal(plan).entries(2)
    assert (second.run, second.text, second.step, second.mark) == (2, "second", "transfer", EntryKind.NOTE)
    assert second.data == {"moved": 3}
    assert second.plan == plan.fingerprint
    assert second.operator
    assert second.host
    assert second.at.tzinfo is not None


def test_a_torn_last_line_counts_as_never_written_and_is_cut_off(plan: Plan) -> None:
    write(plan, text="whole")
    file = open_journal(plan).file
    with file.open("ab") as torn:
        torn.write(b'{"at":"2026-01-0')
    assert [line.text for line in entries_of(file)] == ["whole"]
    write(plan, text="next")
    assert [line.text for line in entries_of(file)] == ["whole", "next"]


def test_a_damaged_line_in_the_middle_is_no_torn_line(plan: Plan) -> None:
    write(plan)
    file = open_journal(plan).file
    file.write_bytes(b"nonsense\n" + file.read_bytes())
    with pytest.raises(UsageError, match=r"journal\.jsonl:1: is no journal entry \(nonsense\); restore the file"):
        entries_of(file)


def test_passwords_do_not_reach_the_journal(plan: Plan) -> None:
    write(plan, text="can't reach redis://me:hunter2@broker:6379/0 now")
    assert b"hunter2" not in open_journal(plan).file.read_bytes()
    assert redact("redis://broker/0 user@example.org") == "redis://broker/0 user@example.org"


def test_the_state_folder_is_ignored_by_git(plan: Plan) -> None:
    write(plan)
    assert (plan.state_folder / ".gitignore").read_text() == "*\n"


def test_a_full_disk_leaves_the_journal_whole_and_can_be_resumed(plan: Plan) -> None:
    write(plan, text="before")
    file = open_journal(plan).file
    size = file.stat().st_size

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, size + 40))
        with pytest.raises(JournalError, match="nothing can be recorded"):
            write(plan, text="too much")

    assert in_child(fill) == 0
    assert file.stat().st_size == size
    write(plan, text="after")
    assert [line.text for line in entries_of(file)] == ["before", "after"]


def test_a_folder_that_can_not_be_written_is_refused(plan: Plan) -> None:
    plan.state_folder.write_text("a file is in the way")
    with pytest.raises(RefusedError, match=r"\.migrator: can't be written"):
        write(plan)


def test_what_an_earlier_version_wrote_has_the_names_of_this_one(plan: Plan) -> None:
    journal = open_journal(plan)
    for step, action in (("alias_net", "hang"), ("stop_workers", "cease:celery"), ("transfer", "move")):
        journal.write(entry(1, Phase.FORWARD, EntryKind.DONE, step, action=action, data={"kept": 2, "moved": 1}))
    entries = entries_of(journal.file)
    assert [(line.step, line.action) for line in entries] == [
        ("legacy_aliases", "enable"),
        ("stop_workers", "cancel:celery"),
        ("transfer", "move"),
    ]
    assert entries[2].data == {"quarantined": 2, "moved": 1}


def test_a_second_operator_is_refused_and_told_who_is_at_it(plan: Plan) -> None:
    code = (
        "import sys, time; from pathlib import Path; from migrator.plan.loader import load_plan\n"
        "from migrator.state.run_lock import run_lock\n"
        "with run_lock(load_plan(Path(sys.argv[1])), 'cutover'):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(plan.file)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        told = rf"another run is going on .*pid {holder.pid}, cutover, since"
        with pytest.raises(RefusedError, match=told), run_lock(plan, "rollback"):
            pytest.fail("two at once")
        holder.kill()
        holder.wait(10)
        with run_lock(plan, "rollback") as note:
            assert f"pid {holder.pid}" in note
            assert "without releasing" in note
        with run_lock(plan, "rollback") as note:
            assert note == ""
    finally:
        holder.kill()
        holder.wait(10)
        holder.stdout.close()


def test_entries_are_durable_before_the_call_returns(plan: Plan) -> None:
    def die() -> None:
        write(plan, text="last words")
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    assert [line.text for line in entries_of(open_journal(plan).file)] == ["last words"]
    assert time.time() - open_journal(plan).entries()[0].at.timestamp() < 60


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at redis://u:secret@h:1/0, then", "at redis://***@h:1/0, then"),
        ("redis://:sec/ret@h/0", "redis://***@h/0"),
        ("redis://u:sec@ret@h/0", "redis://***@h/0"),
        ("redis://:sec#r;et?@h/0", "redis://***@h/0"),
        ("amqp://u:sec@h1//;amqp://u:ret@h2//", "amqp://***@h1//;amqp://***@h2//"),
        ("redis://h/0?db=1&password=secret&x=2", "redis://h/0?db=1&password=***&x=2"),
        ("redis://h/0 of a@b", "redis://h/0 of a@b"),
    ],
)
def test_no_secret_of_a_url_stays_in_a_text(text: str, shown: str) -> None:
    assert redact(text) == shown

"""A manage server answers like a `manage.py` that is started for the command, and is never required."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from shop import Shop, options

from migrator.errors import UnreachableError
from migrator.project.commands import manage
from migrator.project.manage_server import ManageServer, running_manage_server
from migrator.runner.execute import run_all_back
from migrator.state.journal import Phase, open_journal
from migrator.steps import transfer
from migrator.steps.protocol import Action, Context, Step, nothing_to_check, nothing_to_do

#: In this order: apply, show, export a row, unapply, ask for a row of a table that no longer exists.
COMMANDS = (
    ("migrate", "jobs", "--noinput"),
    ("showmigrations", "jobs"),
    ("dumpdata", "jobs", "--output", "{file}"),
    ("migrate", "jobs", "zero", "--noinput"),
    ("dumpdata", "jobs"),
)


def answer_of(shop: Shop, command: tuple[str, ...], file: Path, manage_server: ManageServer | None) -> str:
    arguments = [part.format(file=file) for part in command]
    try:
        return manage(shop.plan, *arguments, environ=shop.environ, manage_server=manage_server)
    except UnreachableError as error:
        return f"failed: {error.found}"


def noisy(shop: Shop) -> None:
    """Let the project print whenever it is imported, without a newline."""
    settings = shop.folder / "src" / "shop" / "settings.py"
    settings.write_text(settings.read_text() + "\nprint('welcome to the shop', end='')\n")


def store_failure(shop: Shop) -> None:
    with closing(sqlite3.connect(shop.folder / "src" / "shop.sqlite3")) as database, database:
        database.execute("insert into jobs_taskfailure (task_name) values ('letter')")


@pytest.mark.timeout(240)
def test_it_answers_like_a_process_for_each_command(shop: Shop, tmp_path: Path) -> None:
    found = []
    noisy(shop)
    with running_manage_server(shop.plan, shop.environ) as manage_server:
        assert manage_server is not None
        for server in (None, manage_server):
            file, answers = tmp_path / f"rows-{server is None}.json", []
            for command in COMMANDS:
                answers.append(answer_of(shop, command, file, server).removeprefix("welcome to the shop"))
                if command[0] == "migrate" and "zero" not in command:
                    store_failure(shop)
            assert "letter" in file.read_text()
            found.append((answers, file.read_text()))
        (slow, rows), (fast, same_rows) = found
        assert manage_server.process.poll() is None
    assert manage_server.process.returncode == 0
    assert fast[1] == slow[1] == "jobs\n [X] 0001_initial\n"
    assert rows == same_rows
    for answers in (slow, fast):
        assert [text.startswith("failed: ") for text in answers] == [False, False, False, False, True]
        assert "no such table: jobs_taskfailure" in answers[-1]


@pytest.mark.timeout(120)
def test_one_that_has_died_is_not_required(shop: Shop, tmp_path: Path) -> None:
    with running_manage_server(shop.plan, shop.environ) as manage_server:
        assert manage_server is not None
        manage_server.process.kill()
        manage_server.process.wait(timeout=20)
        assert "[ ] 0001_initial" in answer_of(shop, ("showmigrations", "jobs"), tmp_path, manage_server)
        assert "[ ] 0001_initial" in answer_of(shop, ("showmigrations", "jobs"), tmp_path, manage_server), (
            "the pipe is broken now"
        )
    wrong = replace(shop.plan.project, manage=("/no/such/python", "manage.py"))
    with running_manage_server(replace(shop.plan, project=wrong), shop.environ) as manage_server:
        assert manage_server is None


def test_what_no_message_waits_for_is_done_after_the_transfer(shop: Shop) -> None:
    """The undo of source and workers begins before the transfer and ends after it, in this order."""
    done: list[str] = []

    def acts(*names: str) -> Callable[[Context], tuple[Action, ...]]:
        return lambda context: tuple(Action(id=n, sentence=n, run=lambda n=n: done.append(n)) for n in names)

    def step(name: str, *undo: str, late: tuple[str, ...] = ()) -> Step:
        later = acts(*late) if late else nothing_to_do
        nothing = {"check": nothing_to_check, "actions": nothing_to_do, "verify": nothing_to_check}
        return Step(name=name, title=name, undo=acts(*undo), undo_late=later, **nothing)

    journal = open_journal(shop.plan)
    context = Context(plan=shop.plan, environ={}, journal=journal, run=1, options=options())
    steps = [
        step("source", "write", late=("commit",)),
        step("plain", "nothing late"),
        step("stop_workers", "start", late=("ready",)),
        step(transfer.NAME, "move"),
        step("after", "first", late=("last",)),
    ]
    expected = ["write", "nothing late", "start", "move", "ready", "commit", "first", "last"]
    results = run_all_back(context, steps)
    assert done == expected
    assert [result.name for result in results] == [one.name for one in steps]
    assert [action.id for action in results[0].actions] == ["write", "commit"]
    lines = [line.action for line in journal.entries(1) if line.phase is Phase.BACK and line.action]
    assert lines == [name for name in expected for _ in range(2)]
    # Nothing is done twice, and without a transfer nothing is postponed.
    run_all_back(context, steps)
    assert done == expected
    done.clear()
    run_all_back(replace(context, run=2), steps[:3])
    assert done == ["write", "commit", "nothing late", "start", "ready"]

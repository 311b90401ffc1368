"""What `status` tells from another terminal: what moves and how fast, what is waited for, and what ends it."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from shop import Shop, eventually, options, send_orders, start_legacy

from migrator.cli.status import command
from migrator.errors import MigratorError
from migrator.events import Event, EventKind, ignore
from migrator.runner import cutover
from migrator.runner.current_action import current_action, how_it_ends
from migrator.state.journal import EntryKind, Phase, entry, open_journal
from migrator.state.progress import STALE_S, progress_file, read_progress, recorded_progress
from migrator.steps.protocol import Context
from migrator.steps.transfer import move
from migrator.transfer.options import Direction


def moved(done: int, total: int | None, elapsed_s: float) -> Event:
    return Event(kind=EventKind.PROGRESS, step="transfer", done=done, total=total, elapsed_s=elapsed_s)


def test_progress_is_there_while_something_moves_and_gone_afterwards(shop: Shop) -> None:
    (shop.folder / ".migrator").mkdir()
    heard: list[Event] = []
    assert read_progress(shop.plan) is None
    with recorded_progress(shop.plan, "messages", heard.append) as listener:
        listener(moved(2_500, 10_000, 0.5))
        listener(moved(2_600, 10_000, 0.5))
        now = read_progress(shop.plan)
        assert now is not None
        assert (now.done, now.rate, now.left, now.left_s) == (2500, 5000.0, 7500, 1.5), "the second came too soon"
        assert now.text == "2,500 of 10,000 messages, 5,000 a second, 7,500 left, about 2 s"
        status = cutover.status(shop.plan, environ=shop.environ)
        assert status.moving == now
    assert len(heard) == 2
    assert read_progress(shop.plan) is None
    assert not progress_file(shop.plan).exists()


def test_what_a_killed_run_left_and_what_is_torn_is_not_taken_for_now(shop: Shop) -> None:
    (shop.folder / ".migrator").mkdir()
    with pytest.raises(KeyboardInterrupt), recorded_progress(shop.plan, "messages", ignore) as listener:
        listener(moved(0, None, 0.0))
        left_by_a_kill = orjson.loads(progress_file(shop.plan).read_bytes())
        assert read_progress(shop.plan) is not None
        raise KeyboardInterrupt
    for text in (
        orjson.dumps({**left_by_a_kill, "at": time.time() - STALE_S - 1}),
        orjson.dumps({**left_by_a_kill, "at": time.time() + 3600}),
        orjson.dumps({"done": 1}),
        b'{"done',
    ):
        progress_file(shop.plan).write_bytes(text)
        assert read_progress(shop.plan) is None, text


def test_a_transfer_says_how_far_it_is(shop: Shop) -> None:
    send_orders(shop, 0, 40)
    seen: list[Any] = []
    context = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, options=options())

    def look(event: Event) -> None:
        if event.kind is EventKind.PROGRESS:
            seen.append(read_progress(shop.plan))

    move(replace(context, listener=look), Direction.FORWARD)
    assert seen[0] is not None
    assert "messages to the unified queues" in seen[0].text
    assert read_progress(shop.plan) is None


@pytest.mark.acceptance
def test_a_waiting_run_says_which_command_ends_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    start_legacy(shop, ["old-celery"])
    hold = shop.folder / "not-yet"
    hold.touch()
    reports: list[Any] = []

    def run() -> None:
        try:
            given = options(postpone_file=hold, until="source")
            reports.append(cutover.cutover(shop.plan, environ=shop.environ, options=given))
        except MigratorError as failure:
            reports.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(
            lambda: reports or cutover.status(shop.plan, environ=shop.environ).current_action.endswith("is gone"),
            timeout_s=60,
        )
        assert not reports, reports
        for name, value in shop.environ.items():
            monkeypatch.setenv(name, value)
        shown = CliRunner().invoke(command, ["--plan", str(shop.plan.file)]).output
    finally:
        hold.unlink()
        thread.join(60)
    assert f"`rm {hold}` ends the wait" in shown, shown
    assert "migrator rollback` undoes it" in shown
    assert reports[0].outcome.value == "paused"
    after = cutover.status(shop.plan, environ=shop.environ)
    assert (after.current_action, after.ends) == ("", ())


def test_each_kind_of_wait_names_its_end(shop: Shop) -> None:
    journal = open_journal(shop.plan)

    def waiting(action: str, text: str, phase: Phase = Phase.FORWARD, owner: str = "me on here, pid 4711") -> str:
        journal.write(entry(1, phase, EntryKind.STARTED, "step", action=action, text=text))
        now = current_action(journal.entries(), 1)
        assert now is not None
        return "\n".join(how_it_ends(shop.plan, now, owner))

    assert "20 s after its begin" in waiting("drain:old-celery", "wait until old-celery has finished its tasks")
    assert "`migrator workers stop legacy --kill old-celery`" in waiting("gone:old-celery", "wait")
    assert "ready or has ended" in waiting("ready:new-worker", "wait until new-worker is ready")
    forward = waiting("move", "transfer all messages")
    assert "`kill -TERM 4711`, interrupts it; then `migrator cutover` goes on" in forward
    assert "undoes it" in forward
    assert "undoes it" not in waiting("move-back", "transfer", Phase.BACK)
    assert waiting("move-back", "transfer", Phase.BACK, "") == "nobody is at it: `migrator rollback` goes on"
    journal.write(entry(1, Phase.BACK, EntryKind.DONE, "step", action="move-back"))
    assert current_action(journal.entries(), 1) is None

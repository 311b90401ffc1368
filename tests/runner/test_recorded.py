"""A run is continued and taken back where it was begun: same brokers, same database, and everybody alive at its end."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from shop import Shop, eventually, options, send_orders, start_legacy

from migrator.embedded_redis import EmbeddedServer, embedded_server
from migrator.errors import ExitCode, RefusedError
from migrator.events import Event, EventKind
from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.runner.resume_checks import place_of
from migrator.state.journal import EntryKind, open_journal
from migrator.wire.message import Side
from migrator.workers.drivers.process_identity import descendants, wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.start_stop import list_processes


def test_another_server_than_at_the_beginning_is_refused_and_left_alone(shop: Shop, tmp_path: Path) -> None:
    began = cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    assert began.outcome is RunOutcome.PAUSED
    with embedded_server(folder=tmp_path / "other") as other:
        elsewhere = {**shop.environ, "SHOP_BROKER": other.url(0)}
        for command in (cutover.cutover, cutover.rollback):
            with pytest.raises(RefusedError) as caught:
                command(shop.plan, environ=elsewhere, options=options())
            assert caught.value.exit_code is ExitCode.REFUSED
            text = f"legacy.dramatiq.broker was {shop.server.url(0)} and is {other.url(0)} (${{SHOP_BROKER"
            assert text in str(caught.value)
            assert "export the variables as they were then" in str(caught.value)
        with pytest.raises(RefusedError):
            cutover.rollback(shop.plan, environ=elsewhere, options=options(dry_run=True))
        assert other_keys(other) == []
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure


def other_keys(server: EmbeddedServer) -> list[bytes]:
    import redis

    with redis.Redis(port=server.port, socket_timeout=5) as client:
        return list(client.keys())


def test_another_database_than_at_the_beginning_is_refused(shop: Shop) -> None:
    cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    settings = shop.folder / "src/shop/settings.py"
    before = settings.read_text()
    settings.write_text(before.replace("shop.sqlite3", "other.sqlite3"))
    with pytest.raises(RefusedError, match=r"database default was \S+shop.sqlite3@: and is \S+other.sqlite3@:"):
        cutover.rollback(shop.plan, environ=shop.environ, options=options())
    settings.write_text(before)
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure


def test_no_password_is_recorded_and_a_new_one_is_no_other_place(shop: Shop) -> None:
    cutover.cutover(shop.plan, environ=shop.environ, options=options(until="migrate_database"))
    begun = next(line for line in open_journal(shop.plan).entries() if line.mark is EntryKind.RUN_BEGUN)
    assert begun.data["brokers"]["legacy.celery"] == shop.server.url(0)
    endpoint = shop.plan.unified
    for url, place in {
        "redis://ann:s3cret@db.example:6380/4": "redis://db.example:6380/4",
        "redis://:rotated@db.example:6380/4": "redis://db.example:6380/4",
        "redis://localhost": "redis://127.0.0.1:6379/0",
        "rediss://:s3cret@db.example/2?ssl_cert_reqs=none": "rediss://db.example:6379/2",
        "amqp://guest:guest@rabbit//": "amqp://rabbit:5672/",
        "amqp://guest:guest@rabbit/orders": "amqp://rabbit:5672/orders",
    }.items():
        assert place_of(replace(endpoint, url="${X}"), {"X": url}) == place


@pytest.mark.acceptance
def test_a_worker_that_dies_between_its_start_and_its_readiness_is_started_again(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 8)
    there = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert there.outcome is RunOutcome.DONE, there.failure

    def kill(event: Event) -> None:
        if event.kind is EventKind.ACTION and event.done == 0 and event.text.startswith("wait until old-celery is"):
            kill_process(shop, "old-celery")
            killed.append(event.text)

    killed: list[str] = []
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options(), listener=kill)
    assert killed
    assert back.outcome is RunOutcome.DONE, back.failure
    assert running(shop) == LEGACY


@pytest.mark.acceptance
def test_a_way_back_has_not_ended_while_somebody_who_ran_before_is_missing(shop: Shop) -> None:
    start_legacy(shop)
    there = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert there.outcome is RunOutcome.DONE, there.failure
    told = []

    def kill(event: Event) -> None:
        told.append(event.text)
        if event.kind is EventKind.STEP_UNDONE and event.step == "stop_workers":
            kill_process(shop, "old-dramatiq")

    back = cutover.rollback(shop.plan, environ=shop.environ, options=options(), listener=kill)
    assert back.outcome is RunOutcome.DONE, back.failure
    assert "ended meanwhile and started again: old-dramatiq" in told
    assert running(shop) == LEGACY


LEGACY = {"old-dramatiq", "old-celery", "old-beat", "old-web"}


def running(shop: Shop) -> set[str]:
    states = list_processes(shop.plan, environ=shop.environ)
    return {state.name for state in states if state.state == "running" and state.side is Side.LEGACY}


def kill_process(shop: Shop, name: str) -> None:
    record = eventually(lambda: read_record(shop.plan, name))
    family = (record.identity, *descendants(record.identity))
    for member in family:
        os.kill(member.pid, signal.SIGKILL)
    wait_gone(family, timeout_s=10)

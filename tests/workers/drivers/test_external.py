"""Processes that run elsewhere: real workers that somebody else runs, seen through the broker alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fleet
import pytest
from guard_context import codes, context
from shop import Shop, eventually

from migrator.errors import UnreachableError
from migrator.events import Event
from migrator.plan.processes import Driver, Elsewhere, Process
from migrator.steps.guards import workers as guard
from migrator.wire.message import Side
from migrator.workers import drain
from migrator.workers.drivers import external
from migrator.workers.drivers.command import process_named
from migrator.workers.processes import current, signal_stop, start, stop
from migrator.workers.readiness import wait_ready
from migrator.workers.start_stop import list_processes, start_side, stop_side

FLEET = str(Path(fleet.__file__))
CELERY = ("-m", "celery", "-A", "jobs.old_celery", "worker", "--pool=threads", "-c", "1", "--without-gossip")
DRAMATIQ = ("-m", "dramatiq", "jobs.old_dramatiq", "-p", "1", "-t", "1")


@pytest.fixture
def there(shop: Shop, tmp_path: Path) -> Iterator[Path]:
    """A folder of the machine where the workers run, with the source that runs there."""
    folder = tmp_path / "there"
    folder.mkdir()
    shutil.copytree(shop.folder / "src", folder / "src")
    yield folder
    for file in folder.glob("*.json"):
        for pid in fleet.living(file):
            os.killpg(pid, signal.SIGKILL)


def at(shop: Shop, there: Path, name: str, *words: str, **changes: object) -> tuple[Shop, Process]:
    """The shop with one of its processes there."""
    up = (sys.executable, FLEET, str(there), "up", "{name}", "{replicas}", "{release}", str(there / "src"))
    elsewhere = Elsewhere(
        start=((*up, sys.executable, *words),),
        stop=((sys.executable, FLEET, str(there), "down", "{name}"),),
        replicas=2,
        release="${RELEASE:-1.41}",
        start_timeout_s=60,
    )
    changed = replace(
        process_named(shop.plan, name), driver=Driver.EXTERNAL, elsewhere=replace(elsewhere, **changes), command=words
    )
    others = tuple(changed if each.name == name else each for each in shop.plan.processes)
    return replace(shop, plan=replace(shop.plan, processes=others)), changed


def calls(there: Path) -> list[str]:
    return (there / "calls").read_text().splitlines()


def test_celery_replicas_are_ready_when_all_answer_and_stopped_when_none_does(shop: Shop, there: Path) -> None:
    site, process = at(shop, there, "old-celery", *CELERY, "-n", "w%i@there")
    assert current(site.plan, process, environ=site.environ) is None
    (state,) = start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"])
    assert (state.state, state.pid) == ("running", None)
    assert drain.node_names(site.plan, process, environ=site.environ) == ("w0@there", "w1@there")
    assert {"WORKER-UNKNOWN", "WORKER-SILENT"}.isdisjoint(codes(guard.guard(context(site))))
    (stopped,) = stop_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"])
    assert stopped.state == "stopped"
    assert not fleet.living(there / "old-celery.json")


def test_on_the_way_back_as_many_of_the_same_release_run_as_before(shop: Shop, there: Path) -> None:
    site, process = at(shop, there, "old-celery", *CELERY, "-n", "w%i@there")
    start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"])
    # Somebody scales it by hand: now there are three.
    more = ("up", "old-celery", "3", "by-hand", there / "src", sys.executable, *CELERY, "-n", "w%i@there")
    subprocess.run([sys.executable, FLEET, there, *more], env=site.environ, check=True, timeout=60)
    eventually(lambda: len(drain.node_names(site.plan, process, environ=site.environ)) == 3)
    report = guard.guard(context(site))
    assert [(finding.code, finding.what) for finding in report.errors] == [
        ("WORKER-UNKNOWN", "3 workers answer, the plan knows 2")
    ]
    stop(site.plan, process, environ=site.environ)
    later = {**site.environ, "RELEASE": "2.0"}
    start(site.plan, process, environ=later)
    wait_ready(site.plan, process, environ=later)
    assert calls(there) == ["old-celery 2 1.41", "old-celery 3 by-hand", "old-celery 3 1.41"]
    stop(site.plan, process, environ=later)


def test_what_has_died_or_is_missing_is_named(shop: Shop, there: Path) -> None:
    site, process = at(shop, there, "old-celery", *CELERY, "-n", "w%i@there", start_timeout_s=5)
    lonely = replace(process, elsewhere=replace(process.elsewhere, replicas=1))
    start(site.plan, lonely, environ=site.environ)
    eventually(lambda: drain.node_names(site.plan, process, environ=site.environ))
    with pytest.raises(UnreachableError, match="1 of 2 replicas show themselves to the broker"):
        wait_ready(site.plan, process, environ=site.environ, timeout_s=3)
    stop(site.plan, process, environ=site.environ)
    broken = replace(process, elsewhere=replace(process.elsewhere, start=(("/usr/bin/false",),)))
    with pytest.raises(UnreachableError, match="old-celery: /usr/bin/false: ended with 1"):
        start(site.plan, broken, environ=site.environ)


def test_one_that_goes_on_working_is_not_stopped(shop: Shop, there: Path) -> None:
    site, process = at(shop, there, "old-dramatiq", *DRAMATIQ, stop=((sys.executable, "-c", "pass"),), replicas=1)
    start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-dramatiq"])
    began = fleet.living(there / "old-dramatiq.json")
    site.run("from jobs.old_dramatiq import pack_box; pack_box.send(1, 20)")
    with site.redis() as client:
        eventually(lambda: list(client.scan_iter("dramatiq:__acks__.*.default")))
    signal_stop(site.plan, process, environ=site.environ)
    with pytest.raises(UnreachableError, match=r"is not gone 2 s after it was told to stop .*1 messages claimed"):
        external.wait_gone(site.plan, process, environ=site.environ, timeout_s=2)
    assert fleet.living(there / "old-dramatiq.json") == began
    os.kill(began[0], signal.SIGTERM)
    assert external.wait_gone(site.plan, process, environ=site.environ, timeout_s=60) > 0
    assert current(site.plan, process, environ=site.environ) is None


def test_a_producer_that_goes_on_sending_is_no_worker(shop: Shop, there: Path) -> None:
    site, process = at(shop, there, "old-dramatiq", *DRAMATIQ, replicas=1)
    start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-dramatiq"])
    code = (
        "import sys, time; from jobs.old_dramatiq import mail_order\n"
        "for number in range(1000): mail_order.send(number); time.sleep(0.05)"
    )
    producer = subprocess.Popen([sys.executable, "-c", code], cwd=there / "src", env=site.environ)
    try:
        eventually(site.done)
        assert stop(site.plan, process, environ=site.environ, timeout_s=60) < 60
        assert producer.poll() is None, "it has sent all that time"
    finally:
        producer.kill()
        producer.wait(10)


def test_without_commands_the_operator_is_asked_and_told_what_is_awaited(shop: Shop, there: Path) -> None:
    site, _ = at(shop, there, "old-celery", start=(), stop=(), replicas=1, start_timeout_s=60)
    seen: list[str] = []
    worker: list[subprocess.Popen[bytes]] = []

    def operator(event: Event) -> None:
        seen.append(event.text)
        if event.text.startswith("start old-celery"):
            line = [sys.executable, *CELERY, "-n", "by-hand@there"]
            worker.append(subprocess.Popen(line, cwd=there / "src", env=site.environ, start_new_session=True))
        elif event.text.startswith("stop old-celery"):
            worker[0].terminate()

    try:
        start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"], listener=operator)
        stop_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-celery"], listener=operator)
    finally:
        worker[0].kill()
        worker[0].wait(10)
    assert "start old-celery of release 1.41 now, 1 of it: awaited for 60 s is that 1 show themselves" in seen
    assert any(text.startswith("stop old-celery of release 1.41 now, all of it: awaited for 20 s") for text in seen)


def test_a_scheduler_says_nothing_to_a_broker_so_its_state_command_counts(shop: Shop, there: Path) -> None:
    beat = ("-m", "celery", "-A", "jobs.old_celery", "beat", "--schedule", str(there / "beat"))
    count = (sys.executable, FLEET, str(there), "count", "{name}")
    site, process = at(shop, there, "old-beat", *beat, state=count, replicas=1)
    states = {state.name: state.state for state in list_processes(site.plan, environ=site.environ)}
    assert states["old-beat"] == "stopped"
    (started,) = start_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-beat"])
    assert started.state == "running"
    (stopped,) = stop_side(site.plan, Side.LEGACY, environ=site.environ, names=["old-beat"])
    assert stopped.state == "stopped"
    assert json.loads((there / "old-beat.json").read_text())
    blind = replace(process, elsewhere=replace(process.elsewhere, state=("/usr/bin/false",)))
    with pytest.raises(UnreachableError, match="ended with 1"):
        current(site.plan, blind, environ=site.environ)

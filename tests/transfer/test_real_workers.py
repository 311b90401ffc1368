"""Real workers run moved messages: each once, at its ETA, with its attempts, under its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from message_traffic import Scene
from waiting import wait_until

from migrator.errors import RefusedError
from migrator.transfer.worker_check import refuse_living_workers
from migrator.wire.message import Side

pytestmark = pytest.mark.acceptance

_RECORD = """
import json, os, time
def record(**fields):
    with open(os.environ["RUNS"], "a") as file:
        file.write(json.dumps({**fields, "at": time.time()}) + "\\n")
"""
_UNIFIED = """
import os
from celery import Celery
from record import record
app = Celery("unified", broker=os.environ["UNIFIED_BROKER_URL"])
app.conf.update(task_default_queue="unified", task_acks_late=True, worker_prefetch_multiplier=1)
app.conf.broker_transport_options = {"visibility_timeout": float(os.environ.get("VISIBILITY_S", "3600"))}
if "VISIBILITY_S" in os.environ:
    from migrator.tasks.parked import ReleaseParked
    app.steps["consumer"].add(ReleaseParked)

@app.task(bind=True, name="tasks.fetch_binance_cryptos", max_retries=5)
def crypto(self, symbols=None, limit=20):
    record(id=self.request.id, args=[symbols], retries=self.request.retries, system="unified")
    if symbols == ["RETRY"]:
        raise self.retry(countdown=5)

@app.task(bind=True, name="tasks.calculate_indicators")
def indicators(self, symbols=None, period=200):
    record(id=self.request.id, args=[symbols], retries=self.request.retries, system="unified")

@app.task(bind=True, name="tasks.cache_warming")
def warming(self, symbols=None):
    record(id=self.request.id, args=[symbols], retries=self.request.retries, system="unified")
"""
_ACTORS = """
import os
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Retries, AgeLimit
from record import record
middleware = [AgeLimit(), Retries(), CurrentMessage()]
dramatiq.set_broker(RedisBroker(url=os.environ["DRAMATIQ_BROKER_URL"], middleware=middleware))

def seen(args):
    message = CurrentMessage.get_current_message()
    record(id=message.message_id, args=args, retries=message.options.get("retries", 0), system="dramatiq")

@dramatiq.actor
def fetch_crypto_prices_task(symbols=None):
    seen([symbols])

@dramatiq.actor
def cache_warming_task(symbols=None):
    seen([symbols])
"""


class Workers:
    """Starts workers in a folder and reads what they ran."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder = folder
        self.runs = folder / "runs.jsonl"
        self.environ = {**os.environ, **scene.environ, "RUNS": str(self.runs), "PYTHONPATH": str(folder)}
        for name, text in (("record", _RECORD), ("unified_app", _UNIFIED), ("actors", _ACTORS)):
            (folder / f"{name}.py").write_text(text)

    def ran(self) -> list[dict[str, Any]]:
        """Return the runs so far."""
        return [json.loads(line) for line in self.runs.read_text().splitlines()] if self.runs.exists() else []

    @contextmanager
    def celery(self) -> Iterator[None]:
        """Run a Celery worker for the unified queue."""
        with self._process("-m", "celery", "-A", "unified_app", "worker", "--pool", "solo", "-Q", "unified",
                           "--without-mingle", "--without-gossip", "-l", "warning"):  # fmt: skip
            yield

    @contextmanager
    def dramatiq(self) -> Iterator[None]:
        """Run a Dramatiq worker."""
        with self._process("-m", "dramatiq", "actors", "--processes", "1", "--threads", "2"):
            yield

    @contextmanager
    def _process(self, *arguments: str) -> Iterator[None]:
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=self.folder, env=self.environ, stdout=log, stderr=log
            )
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)

    def wait(self, ready: Callable[[list[dict[str, Any]]], bool], timeout_s: float = 40) -> list[dict[str, Any]]:
        """Wait until the runs are as expected."""
        (runs,) = wait_until(
            lambda: ready(runs := self.ran()) and (runs,),
            timeout_s=timeout_s,
            what=lambda: f"ran only {self.ran()}; {(self.folder / 'worker.log').read_text()[-2000:]}",
        )
        return list(runs)


@pytest.fixture
def workers(tmp_path: Path, scene: Scene) -> Workers:
    return Workers(tmp_path, scene)


def test_dramatiq_messages_run_once_on_a_celery_worker_at_their_eta(workers: Workers, scene: Scene) -> None:
    sent_at = time.time()
    delayed = scene.send("fetch_crypto_prices_task", ["LATER"], delay=4000, options={"retries": 2})
    now = scene.send("fetch_crypto_prices_task", ["NOW"])
    adapted = scene.send("fetch_technical_indicators_task", "AAPL", ["sma"])
    piped = scene.send(
        "cache_warming_task",
        ["A"],
        options={
            "pipe_target": json.loads(
                b'{"queue_name":"default","actor_name":"fetch_crypto_prices_task","args":[["THEN"]],"kwargs":{},'
                b'"options":{"pipe_ignore":true},"message_id":"then","message_timestamp":1}'
            )
        },
    )
    legacy = scene.apply("calculate_indicators_task", "MSFT", retries=1)
    assert scene.forward().moved == 5
    with workers.celery():
        workers.wait(lambda runs: len(runs) >= 6)
        with pytest.raises(RefusedError, match=r"unified workers: .*run twice \(celery@.*pid \d+"):
            refuse_living_workers(scene.plan, environ=scene.environ, side=Side.UNIFIED)
        refuse_living_workers(scene.plan, environ=scene.environ, side=Side.LEGACY)
        time.sleep(1)
        runs = workers.ran()
    by_id = {run["id"]: run for run in runs}
    assert len(runs) == 6, "each ran once, and the second step of the pipeline"
    assert by_id[now]["args"] == [["NOW"]]
    assert by_id[adapted]["args"] == [["AAPL"]]
    assert by_id[legacy]["args"] == [["MSFT"]]
    assert by_id[legacy]["retries"] == 1
    assert by_id[delayed]["retries"] == 2
    assert by_id[piped]["args"] == [["A"]]
    assert [["THEN"]] in [run["args"] for run in runs]
    assert 3.9 < by_id[delayed]["at"] - sent_at < 30
    assert scene.back().seen == 0


def test_what_is_due_after_the_visibility_timeout_runs_once_at_its_eta(workers: Workers, scene: Scene) -> None:
    unified = replace(scene.plan.unified, visibility_timeout_s=4.0)
    scene.plan = replace(scene.plan, unified=unified)
    workers.environ["VISIBILITY_S"] = "4"
    sent_at = time.time()
    late = scene.send("fetch_crypto_prices_task", ["LATE"], delay=7000)
    assert scene.forward().parked == 1
    with workers.celery():
        workers.wait(lambda runs: len(runs) == 1)
        # Long enough for a second delivery, had there been one.
        time.sleep(2)
    (run,) = workers.ran()
    assert run["id"] == late
    assert 6.9 < run["at"] - sent_at < 30


def test_what_goes_back_runs_once_on_a_dramatiq_worker_at_its_eta(workers: Workers, scene: Scene) -> None:
    retried = scene.send("fetch_crypto_prices_task", ["RETRY"])
    untouched = scene.send("cache_warming_task", ["SAME"], delay=1)
    scene.forward()
    sent_at = time.time()
    native = scene.apply_unified("tasks.cache_warming", ["NEW"], countdown=6)
    scene.unified.rename("unified\x06\x163", "aside")
    with workers.celery():
        workers.wait(lambda runs: len(runs) == 1)
        # Time for the worker to hold the retry and the delayed message unacknowledged; SIGTERM returns both.
        time.sleep(1)
    scene.unified.rename("aside", "unified\x06\x163")
    report = scene.back(consumers_stopped=True)
    assert (report.moved, report.balance, report.left) == (3, 0, {})
    with workers.dramatiq():
        runs = workers.wait(lambda runs: len(runs) >= 4)
        time.sleep(1)
        runs = workers.ran()[1:]
    by_id = {run["id"]: run for run in runs}
    assert len(runs) == 3
    assert {run["system"] for run in runs} == {"dramatiq"}
    assert (by_id[retried]["retries"], by_id[retried]["args"]) == (1, [["RETRY"]])
    assert by_id[untouched]["args"] == [["SAME"]]
    assert by_id[native]["args"] == [["NEW"]]
    assert 5.9 < by_id[native]["at"] - sent_at < 30

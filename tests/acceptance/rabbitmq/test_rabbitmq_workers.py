"""Real workers on RabbitMQ around a transfer: each message runs once, in the order of its priority, without a 406."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rabbit_scene import RabbitScene
from rabbit_workers import dramatiq_worker, until

pytestmark = pytest.mark.timeout(120)

#: The legacy and the unified app, as two processes of the same project would have them.
APP = """
import os
import time
from celery import Celery
from kombu import Exchange, Queue
legacy = Celery("legacy", broker=os.environ["LEGACY"], set_as_current=False)
app = Celery("unified", broker=os.environ["UNIFIED"], set_as_current=False)
queue = {"max_priority": 9} if os.environ["UNIFIED"].startswith("amqp") else {}
app.conf.task_queues = (Queue("unified", Exchange("unified"), routing_key="unified", **queue),)
for one in (legacy, app):
    one.conf.worker_prefetch_multiplier = 1
    one.conf.task_acks_late = True
    one.conf.broker_connection_retry_on_startup = True
def ran(self, *args, **kwargs):
    print(f"RAN {self.request.id} {self.name} retries={self.request.retries} at={time.time()}", flush=True)
for name in ("tasks.health_check", "tasks.cleanup_old_data", "tasks.fetch_yahoo_stocks", "tasks.fetch_stock_prices"):
    app.task(ran, name=name, bind=True)
@app.task(bind=True, name="tasks.fetch_news", max_retries=3)
def fetch_news(self, **kwargs):
    if self.request.retries == 0:
        raise self.retry(countdown=3600)
legacy.task(ran, name="tasks.celery_tasks.health_check_task", bind=True)
"""


@contextmanager
def celery_worker(scene: RabbitScene, folder: Path, app: str) -> Iterator[Path]:
    """A real Celery worker of one app; its log is given, and it is stopped warmly."""
    (folder / "two_apps.py").write_text(APP)
    log = folder / f"{app}.log"
    environ = {"LEGACY": scene.urls["celery"], "UNIFIED": scene.urls["unified"], "PYTHONPATH": str(folder), "PATH": ""}
    fixed = ["worker", "--pool=solo", "--without-gossip", "--without-mingle", "--loglevel=info", "-n", f"{app}@%h"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", f"two_apps:{app}", *fixed], env=environ, stdout=output, stderr=output
        )
    try:
        until(lambda: " ready." in log.read_text() or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()[-3000:]
        yield log
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def ran(log: Path) -> list[str]:
    """Return the ids that ran, in order."""
    return re.findall(r"RAN ([\w-]+) ", log.read_text())


def times(log: Path, pattern: str) -> dict[str, float]:
    """Return when each id ran, in seconds since the epoch."""
    return {identity: float(at) for identity, at in re.findall(pattern, log.read_text())}


def test_carried_messages_run_once_and_by_priority(any_scene: RabbitScene, tmp_path: Path) -> None:
    """From real producers with delay, priority and retries to a real worker; what it did not get to goes back."""
    scene = any_scene
    low = scene.apply("cleanup_old_data_task", 30)
    medium = [scene.send("fetch_stock_prices_task", [f"S{n}"], options={"retries": 2}) for n in range(3)]
    high = [scene.apply("fetch_yahoo_stocks_task", [f"Y{n}"]) for n in range(3)]
    soon, due = scene.send("health_check_task", delay=6_000), time.time() + 6
    later = scene.send("health_check_task", delay=900_000)
    retried = scene.send("fetch_news_task", query="gold", count=3)
    assert scene.forward().moved == 10
    with celery_worker(scene, tmp_path, "app") as log:
        until(lambda: len(ran(log)) >= 8 and "Retry" in log.read_text(), 90)
    order = [identity for identity in ran(log) if identity != soon]
    assert order == [*high, *medium, low]
    assert Counter(ran(log)) == dict.fromkeys([*high, *medium, low, soon], 1)
    assert log.read_text().count("retries=2") == 3
    assert times(log, r"RAN ([\w-]+) .* at=([\d.]+)")[soon] > due - 0.1
    assert "PRECONDITION" not in log.read_text()
    report = scene.back()
    assert (report.moved, report.quarantined) == (2, 0), report.quarantined_messages
    found = {message.id: message for message in scene.broker("dramatiq").scan()}
    assert set(found) == {later, retried}
    assert found[retried].attempts == 1 and dict(found[retried].kwargs) == {"query": "gold", "count": 3}


def test_legacy_workers_take_what_came_back(rabbit_only: RabbitScene, tmp_path: Path) -> None:
    scene = rabbit_only
    mine = scene.apply("health_check_task")
    now = scene.send("health_check_task")
    soon, due = (
        scene.send("health_check_task", delay=8_000, options={"retries": 2, "broker_priority": 3}),
        time.time() + 8,
    )
    assert scene.forward().moved == 3
    born = scene.apply_unified("tasks.health_check")
    assert scene.back().moved == 4
    with celery_worker(scene, tmp_path, "legacy") as log:
        until(lambda: len(ran(log)) >= 2, 60)
    assert Counter(ran(log)) == {mine: 1, born: 1}
    with dramatiq_worker(scene, tmp_path) as worker:
        until(lambda: (tmp_path / "worker.log").read_text().count("ran") == 2, 60)
        ended = (tmp_path / "worker.log").read_text()
        # It acknowledges after it has run.
        worker.terminate()
        assert worker.wait(60) == 0
    assert re.findall(r"ran ([\w-]+ \d)", ended) == [f"{now} 0", f"{soon} 2"]
    assert times(tmp_path / "worker.log", r"ran ([\w-]+) \d ([\d.]+)")[soon] > due - 0.1
    assert not scene.ids()
    assert "PRECONDITION" not in log.read_text()

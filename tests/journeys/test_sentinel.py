"""Brokers behind Sentinels: the master is found, and a change of it in the middle of a transfer ends that clearly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from sentinels import MASTER, Sentinels, running_sentinels
from small_projects import MIGRATOR, SRC_ROOT, Project, make_project
from waiting import wait_until

COUNT = 300
CELERY = """\
import os

from celery import Celery
from celery.schedules import crontab

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.broker_transport_options = {"master_name": "shop"}
app.conf.beat_schedule = {
    "nightly-report": {"task": "orders.old_tasks.report", "schedule": crontab(hour=3, minute=0)},
}
"""
ACTORS = """\
import os
from urllib.parse import urlsplit

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis.sentinel import Sentinel

sentinels = [(urlsplit(url).hostname, urlsplit(url).port) for url in os.environ["BROKER"].split(";")]
dramatiq.set_broker(RedisBroker(client=Sentinel(sentinels).master_for("shop")))


@dramatiq.actor(max_retries=3)
def ship(order_id, express=False):
    return order_id
"""
SEND = f"""\
from orders.actors import ship
from orders.old_tasks import report

for number in range({COUNT // 2}):
    ship.send(number)
    report.delay(number)
"""


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    with running_sentinels(tmp_path) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, sentinels: Sentinels) -> Project:
    plan = SRC_ROOT["migration.toml"]
    for database in (0, 1):
        plan = plan.replace(f'"redis://127.0.0.1:6379/{database}"', '"${BROKER}"\nmaster_name = "shop"')
    files = {**SRC_ROOT, "migration.toml": plan, "src/shop/celery.py": CELERY, "src/orders/actors.py": ACTORS}
    made = make_project(tmp_path / "project", files, {"BROKER": sentinels.url})
    code = f"import sys; sys.path.insert(0, 'src')\n{SEND}"
    sent = made.run(sys.executable, "-c", code)
    assert sent.returncode == 0, sent.stderr
    replica = {sentinels.first.port, sentinels.second.port} - {sentinels.master()}
    wait_until(lambda: len(ids(*replica)) == COUNT, timeout_s=60)  # a replica begins empty
    return made


def waiting(project: Project) -> dict[str, int]:
    done = project.migrator("status", "--format", "json")
    document = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, int] = document["waiting"]
    return found


def ids(port: int) -> list[str]:
    """Return the id of each message that waits on one server, in whichever queue."""
    with redis.Redis(port=port, socket_timeout=5, decode_responses=True) as client:
        found = list(client.lrange("dramatiq:default", 0, -1))
        found = [json.loads(client.hget("dramatiq:default.msgs", key) or "{}")["message_id"] for key in found]
        for key in client.scan_iter("*", _type="list"):
            if not key.startswith(("dramatiq:", "tqm:")):
                found += [json.loads(text)["headers"]["id"] for text in client.lrange(key, 0, -1)]
        return found


def test_the_master_is_found_by_its_name(project: Project, sentinels: Sentinels) -> None:
    assert sum(waiting(project).values()) == COUNT
    moved = project.migrator("transfer", "--yes")
    assert moved.returncode == 0, moved.stdout + moved.stderr
    sentinels.fail_over()
    assert {name.partition(" ")[0] for name in waiting(project)} == {"unified.celery"}
    assert len(set(ids(sentinels.master()))) == len(ids(sentinels.master())) == COUNT
    back = project.migrator("transfer", "--back", "--yes")
    assert back.returncode == 0, back.stdout + back.stderr
    assert len(set(ids(sentinels.master()))) == len(ids(sentinels.master())) == COUNT


def kill_the_master(sentinels: Sentinels) -> None:
    before = sentinels.master()
    {server.port: server for server in (sentinels.first, sentinels.second)}[before].kill()
    wait_until(lambda: sentinels.master() != before, timeout_s=60)


@pytest.mark.parametrize("change", [Sentinels.fail_over, kill_the_master], ids=["by command", "by a crash"])
def test_another_master_in_the_middle_ends_the_transfer_with_advice(
    change: Callable[[Sentinels], None], project: Project, sentinels: Sentinels, tmp_path: Path
) -> None:
    before = sentinels.master()
    words = [MIGRATOR, "transfer", "--yes", "--no-snapshot", "--rate", "20"]
    with (tmp_path / "log").open("wb") as log:
        environ = {**os.environ, **project.environ}
        process = subprocess.Popen(words, cwd=project.folder, env=environ, stdout=log, stderr=log)
        try:
            with redis.Redis(port=before, socket_timeout=5) as client:
                wait_until(lambda: list(client.scan_iter("unified*")), timeout_s=60)
            change(sentinels)
            code = process.wait(90)
        finally:
            process.kill()
            process.wait(20)
    told = (tmp_path / "log").read_text()
    assert code in (3, 4), told
    assert "Sentinel" in told or "failover" in told, told
    assert "command again" in told, told
    again = project.migrator("transfer", "--yes", "--no-snapshot")
    if again.returncode == 4:  # the replica lagged: what the old master did after its last word is gone, and said so
        assert "has forgotten" in again.stderr and "--accept-forgotten" in again.stderr, again.stderr
        again = project.migrator("transfer", "--yes", "--no-snapshot", "--accept-forgotten")
    assert again.returncode == 0, again.stdout + again.stderr
    found = ids(sentinels.master())
    assert len(set(found)) == len(found) == COUNT
    assert set(waiting(project)) == {"unified.celery unified ready"}


def test_what_is_missing_is_said(project: Project, sentinels: Sentinels) -> None:
    plan = project.folder / "migration.toml"
    text = plan.read_text()
    plan.write_text(text.replace(f'master_name = "{MASTER}"\n', "", 1))
    nameless = project.migrator("transfer", "--dry-run")
    assert nameless.returncode == 2
    assert "the name of the Sentinels' master is missing" in nameless.stderr
    plan.write_text(text.replace(f'master_name = "{MASTER}"', 'master_name = "other"'))
    unknown = project.migrator("transfer", "--dry-run")
    assert unknown.returncode == 3
    assert "no Sentinel names a master called other" in unknown.stderr


def test_the_name_is_drafted_from_the_transport_options(tmp_path: Path) -> None:
    celery = CELERY.replace('os.environ["BROKER"]', '"sentinel://one:26379;sentinel://two:26379"')
    files = {path: text for path, text in SRC_ROOT.items() if path != "migration.toml"} | {"src/shop/celery.py": celery}
    drafted = make_project(tmp_path, files)
    assert drafted.migrator("init").returncode in (0, 1)
    plan = (tmp_path / "migration.toml").read_text()
    assert 'broker = "sentinel://one:26379;sentinel://two:26379"\n' in plan
    assert 'master_name = "shop"\n' in plan

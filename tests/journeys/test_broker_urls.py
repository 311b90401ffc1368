"""URLs of brokers in a plan mean what the workers make of them, and workers under a key prefix are heard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from small_projects import MANAGE, Project, make_project

from migrator.embedded_redis import embedded_server

BAKERY = {
    ".gitignore": "__pycache__/\n.migrator/\n",
    "manage.py": MANAGE.format(settings="bakery.settings"),
    "bakery/__init__.py": "",
    "bakery/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "bakery/actors.py": """\
import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["OVEN"]))


@dramatiq.actor
def bake(x):
    return x
""",
    "bakery/jobs.py": """\
import os

from celery import Celery

app = Celery("jobs", broker=os.environ["ROAD"])
app.conf.broker_transport_options = {"global_keyprefix": "bakery:"}


@app.task(name="deliver")
def deliver(x):
    return x
""",
    "bakery/tasks.py": """\
import os

from celery import Celery

app = Celery("bakery", broker=os.environ["ROAD"])
app.conf.task_default_queue = "unified"


@app.task(name="bakery.bake")
def bake(x):
    return x


@app.task(name="bakery.deliver")
def deliver(x):
    return x
""",
    "migration.toml": """\
[migration]
name = "bakery"

[project]
root = "."
settings = "bakery.settings"

[legacy.dramatiq]
broker = "${OVEN}"
queues = ["default"]
modules = ["bakery.actors"]

[legacy.celery]
broker = "${ROAD}"
queues = ["celery"]
key_prefix = "bakery:"
modules = ["bakery.jobs"]

[unified]
broker = "${ROAD}"
queues = ["unified"]

[[task]]
name = "bakery.bake"
path = "bakery.tasks.bake"
parameters = ["x"]

  [[task.replaces]]
  system = "dramatiq"
  name = "bake"
  path = "bakery.actors.bake"
  parameters = ["x"]

[[task]]
name = "bakery.deliver"
path = "bakery.tasks.deliver"
parameters = ["x"]

  [[task.replaces]]
  system = "celery"
  name = "deliver"
  path = "bakery.jobs.deliver"
  parameters = ["x"]

[[process]]
name = "jobs"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "bakery.jobs", "worker", "-Q", "celery", "--pool", "solo", "-n", "{node}"]
""",
}


def send(project: Project) -> None:
    for code in ("from bakery.actors import bake; bake.send(1)", "from bakery.jobs import deliver; deliver.delay(2)"):
        done = project.run(sys.executable, "-c", code)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("oven", "road", "places"),
    [
        ("unix://{socket}?db=3", "redis+socket://{socket}?virtual_host=4", (3, 4)),
        ("redis://{at}/2?db=3", "redis://{at}//4", (3, 4)),
        ("redis://{at}/?db=3&username=default&password=", "REDIS://{at}/4", (3, 4)),
        ("redis://{at}", "redis://{at}/", (0, 0)),
    ],
)
def test_messages_are_found_where_the_workers_libraries_put_them(
    tmp_path: Path, oven: str, road: str, places: tuple[int, int]
) -> None:
    socket = tmp_path / "s"
    with embedded_server(folder=tmp_path / "server", arguments=("--unixsocket", str(socket))) as server:
        at = urlsplit(server.url()).netloc
        urls = [url.format(socket=socket, at=at) for url in (oven, road)]
        project = make_project(tmp_path / "bakery", BAKERY, dict(zip(("OVEN", "ROAD"), urls, strict=True)))
        send(project)
        done = project.migrator("transfer", "--yes", "--format", "json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["moved"] == 2
        with redis.Redis.from_url(server.url(places[1])) as client:
            assert sum(client.llen(key) for key in client.keys("unified*")) == 2
        with redis.Redis.from_url(server.url(places[0])) as client:
            assert client.llen("dramatiq:default") == 0


@pytest.mark.parametrize(
    ("oven", "road", "said"),
    [
        ("redis://127.0.0.1:1/orders", "redis://127.0.0.1:1/0", "the database is no number"),
        ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/orders", "the database is no number"),
        ("redis+socket:///run/s", "redis://127.0.0.1:1/0", "redis-py does not read redis+socket://"),
        ("redis://127.0.0.1:1/0", "unix:///run/s", "Celery does not read unix://"),
        ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0?db=3", "Celery does not read the option db"),
        ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0;redis://127.0.0.1:2/0", "a list of Redis servers"),
        ("redis://127.0.0.1:port/0", "redis://127.0.0.1:1/0", "this is no URL of a Redis server"),
        ("redis://127.0.0.1:1/0", "kafka://127.0.0.1:1", "no broker module reads this kind of URL"),
        ("redis://127.0.0.1:1/0", "127.0.0.1:6379", "no broker module reads this kind of URL"),
        ("redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0?ssl_cert_reqs=maybe", "ssl_cert_reqs is none of its values"),
    ],
)
def test_what_a_library_does_not_read_is_refused_with_what_to_write(
    tmp_path: Path, oven: str, road: str, said: str
) -> None:
    project = make_project(tmp_path / "bakery", BAKERY, {"OVEN": oven, "ROAD": road})
    done = project.migrator("transfer", "--dry-run")
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_workers_under_a_key_prefix_are_not_silent_on_the_server_of_the_unified_ones(
    tmp_path: Path, redis_url: str
) -> None:
    project = make_project(tmp_path / "bakery", BAKERY, {"OVEN": redis_url, "ROAD": redis_url})
    assert project.migrator("workers", "start", "legacy", "--yes").returncode == 0
    try:
        looked = project.migrator("cutover", "--dry-run")
        assert "PROCESS" in looked.stdout + looked.stderr  # the plan has no Dramatiq worker: the guard has run
        assert "WORKER-SILENT" not in looked.stdout + looked.stderr
    finally:
        assert project.migrator("workers", "stop", "legacy", "--yes").returncode == 0

"""A project on RabbitMQ that has no client of Redis: parity runs it on brokers in memory."""

from __future__ import annotations

import json
from pathlib import Path

from environments import RABBITMQ, environment
from small_projects import MANAGE, make_project

CASE = 'title = "of {task}"\nkind = "usual"\n[[call]]\nsystem = "dramatiq"\ntask = "{task}"\nargs = [4]\n'
FILES = {
    "manage.py": MANAGE.format(settings="press.settings"),
    "press/__init__.py": "from .celery import app as celery_app\n",
    "press/settings.py": """\
import importlib.util

assert importlib.util.find_spec("redis") is None
SECRET_KEY = "only for tests"
INSTALLED_APPS = []
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
CELERY_BROKER_URL = "amqp://guest:guest@127.0.0.1:5672//"
CELERY_TASK_DEFAULT_QUEUE = "unified"
""",
    "press/celery.py": """\
from celery import Celery

app = Celery("press")
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "press/broker.py": """\
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url="amqp://guest:guest@127.0.0.1:5672/"))
""",
    "press/actors.py": """\
import dramatiq
import press.broker


@dramatiq.actor(queue_name="ink", max_retries=3)
def print_page(page):
    bind.send_with_options(args=(page,), delay=2000)
    return page


@dramatiq.actor(queue_name="ink", max_retries=3)
def bind(page):
    return [page]
""",
    "press/unified.py": """\
from press.celery import app


@app.task(name="press.print_page")
def print_page(page):
    bind.apply_async(args=(page,), countdown=2)
    return page


@app.task(name="press.bind", priority=0)
def bind(page):
    return [page]
""",
    "migration.toml": """\
[migration]
name = "press"

[project]
root = "."
settings = "press.settings"

[legacy.dramatiq]
broker = "amqp://guest:guest@127.0.0.1:5672"
queues = ["ink"]
modules = ["press.actors"]

[unified]
broker = "amqp://guest:guest@127.0.0.1:5672//"
queues = ["unified"]

[[task]]
name = "press.print_page"
path = "press.unified.print_page"
parameters = ["page"]

[[task.replaces]]
system = "dramatiq"
name = "print_page"
path = "press.actors.print_page"
parameters = ["page"]

[[task]]
name = "press.bind"
path = "press.unified.bind"
parameters = ["page"]

[[task.replaces]]
system = "dramatiq"
name = "bind"
path = "press.actors.bind"
parameters = ["page"]
""",
    "parity.toml": 'cases = "cases"\n',
    "cases/page/case.toml": CASE.replace("{task}", "print_page"),
    "cases/bind/case.toml": CASE.replace("{task}", "bind"),
}


def test_parity_without_a_client_of_redis(tmp_path: Path) -> None:
    project = make_project(tmp_path / "press", FILES, {"MIGRATOR_PYTHON": str(environment(RABBITMQ) / "bin/python")})
    done = project.migrator("parity-check", "--format", "json")
    comparisons = json.loads(done.stdout)["parity"]["comparisons"]
    cases = {item["case"]: item["differences"] for item in comparisons if ":" not in item["case"]}
    assert cases == {"page": [], "bind": []}, done.stderr
    assert not [item for item in comparisons if item["outcome"] == "could-not-compare"]

"""Call sites and their tests: a project's own tests pass before and after the rewrite."""

from __future__ import annotations

import sys
from pathlib import Path

from small_projects import MANAGE, make_project

FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "app/celery.py": """\
from celery import Celery

app = Celery("app", broker="memory://")
app.conf.task_default_queue = "unified"
app.set_default()
""",
    "app/broker.py": """\
import dramatiq
from dramatiq.brokers.redis import RedisBroker

broker = RedisBroker(url="redis://127.0.0.1:1/0")
dramatiq.set_broker(broker)
""",
    "app/tasks.py": """\
import dramatiq

from app.broker import broker


@dramatiq.actor(broker=broker)
def ship(ref, express=False):
    ship.logger.info("shipping %s", ref)


@dramatiq.actor(broker=broker)
def bill(ref):
    return ref
""",
    "app/orders.py": """\
from app.broker import broker
from app.tasks import bill, ship


def place(ref):
    broker.enqueue(ship.message(ref, express=True))
    return bill.send(ref).message_id


def remind(ref):
    bill.send_with_options(args=(ref,), delay=2000)


def all_bills(refs):
    messages = [bill.send(ref) for ref in refs]
    return [message.message_id for message in messages]


def bill_slowly(ref):
    bill.send_with_options(args=(ref,), max_retries=1)
""",
    "tests.py": """\
import logging
import unittest
from types import SimpleNamespace
from unittest.mock import Mock, patch

import app.celery
from app import orders, tasks


class OrderTests(unittest.TestCase):
    def setUp(self):
        self.bill = patch("app.tasks.bill.send", return_value=Mock(message_id="m-1")).start()
        self.patcher = patch.object(tasks.bill, "send_with_options")
        self.later = self.patcher.start()
        self.addCleanup(patch.stopall)

    def test_place(self):
        with SHIPPED as ship:
            self.assertEqual(orders.place("r1"), "m-1")
        ship.assert_called_once()
        self.bill.assert_called_once_with("r1")

    def test_all(self):
        self.bill.side_effect = lambda ref: SimpleNamespace(message_id=ref)
        self.assertEqual(orders.all_bills("ab"), ["a", "b"])

    def test_name(self):
        self.assertEqual(tasks.bill.actor_name, "bill")

    def test_logger(self):
        with self.assertLogs(level=logging.INFO):
            tasks.ship.fn("r3")
""",
    "migration.toml": """\
[migration]
name = "calls"

[project]
root = "."
settings = "app.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:1/0"
queues = ["default"]
modules = ["app.tasks"]

[unified]
broker = "redis://127.0.0.1:1/1"
queues = ["unified"]

[[task]]
name = "app.tasks.ship"
path = "app.tasks.ship"
parameters = ["ref", "express"]
max_retries = 20
  [[task.replaces]]
  system = "dramatiq"
  name = "ship"
  path = "app.tasks.ship"
  parameters = ["ref", "express"]

[[task]]
name = "app.tasks.bill"
path = "app.tasks.bill"
parameters = ["ref"]
max_retries = 20
  [[task.replaces]]
  system = "dramatiq"
  name = "bill"
  path = "app.tasks.bill"
  parameters = ["ref"]
""",
}
BEFORE, AFTER = 'patch.object(orders.broker, "enqueue")', 'patch("app.tasks.ship.delay")'
SLOWLY = "    bill.send_with_options(args=(ref,), max_retries=1)\n"


def test_a_projects_own_tests_pass_before_and_after(tmp_path: Path) -> None:
    """What gives a message to the broker is a send afterwards, so one patch is changed by hand; all others follow."""
    files = {**FILES, "app/orders.py": FILES["app/orders.py"].replace(SLOWLY, "    bill.send(ref)\n")}
    project = make_project(tmp_path / "project", {**files, "tests.py": FILES["tests.py"].replace("SHIPPED", BEFORE)})
    done = project.run(sys.executable, "-m", "unittest", "tests")
    assert done.returncode == 0, done.stderr
    listed = project.migrator("rewrite-imports").stdout
    rewritten = (project.folder / "tests.py").read_text()
    (project.folder / "tests.py").write_text(rewritten.replace(BEFORE, AFTER))
    done = project.run(sys.executable, "-m", "unittest", "tests")
    assert done.returncode == 0, done.stderr + listed
    orders = (project.folder / "app/orders.py").read_text()
    assert "ship.delay(ref, express=True)" in orders and "message.id for message" in orders, orders
    assert '"app.tasks.bill.delay", return_value=Mock(id="m-1")' in rewritten, rewritten


def test_a_patch_stays_with_a_send_that_stays(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", {**FILES, "tests.py": FILES["tests.py"].replace("SHIPPED", BEFORE)})
    done = project.migrator("rewrite-imports")
    assert done.returncode == 1
    assert "the send in app/orders.py:20" in done.stdout, done.stdout
    assert '"app.tasks.bill.send"' in (project.folder / "tests.py").read_text()


def test_a_result_that_would_raise_is_a_leftover(tmp_path: Path) -> None:
    asked = """

def wait(refs, store):
    store.keep([bill.send(ref) for ref in refs])
    for message in store.kept():
        message.get_result(block=True)
"""
    project = make_project(tmp_path / "project", {**FILES, "app/orders.py": FILES["app/orders.py"] + asked})
    done = project.migrator("rewrite-imports")
    assert done.returncode == 1
    found = next(line for line in done.stdout.splitlines() if "MESSAGE-ATTRIBUTE" in line)
    assert found.startswith("error") and "it will raise" in found and "app/orders.py:26" in found, found

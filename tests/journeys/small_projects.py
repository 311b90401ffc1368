"""Small projects as strangers write them, and the installed console script run on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIGRATOR = Path(sys.executable).with_name("migrator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project in a git repository of its own."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def migrator(self, *words: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the installed ``migrator`` here; what it prints is in ``stdout`` and ``stderr``."""
        return self.run(str(MIGRATOR), *words, timeout_s=timeout_s)

    def git(self, *words: str) -> str:
        """Run git here and return what it prints."""
        done = self.run("git", "-c", "user.name=tester", "-c", "user.email=tester@example.org", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self) -> None:
        """Commit everything that is not ignored."""
        self.git("add", "-A")
        self.git("commit", "-qm", "state", "--allow-empty")

    def changed(self) -> str:
        """Return what differs from the last commit."""
        return self.git("status", "--porcelain")

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command here."""
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**environ, "NO_COLOR": "1", **self.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


def make_project(folder: Path, files: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Project:
    """Write the files and commit them."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    project = Project(folder=folder, environ=environ or {})
    project.git("init", "-q")
    project.commit()
    return project


MANAGE = """\
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "{settings}")

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""

#: Both systems below ``src``, a module of its own for the unified tasks, and a schedule assigned in code.
SRC_ROOT = {
    "src/manage.py": MANAGE.format(settings="shop.settings"),
    "src/shop/__init__.py": "",
    "src/shop/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "src/shop/celery.py": """\
from celery import Celery
from celery.schedules import crontab

app = Celery("shop", broker="redis://127.0.0.1:6379/0")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = {
    "nightly-report": {"task": "orders.old_tasks.report", "schedule": crontab(hour=3, minute=0)},
}
""",
    "src/orders/__init__.py": "",
    "src/orders/actors.py": """\
import dramatiq


@dramatiq.actor(max_retries=3)
def ship(order_id, express=False):
    return order_id
""",
    "src/orders/old_tasks.py": """\
from shop.celery import app


@app.task
def report(days=1):
    return days
""",
    "src/orders/tasks.py": """\
from shop.celery import app


@app.task(name="orders.ship")
def ship(order_id, express=False):
    return order_id


@app.task(name="orders.report")
def report(days=1):
    return days
""",
    "src/orders/views.py": """\
from orders.actors import ship
from orders.old_tasks import report


def place(request, order_id):
    ship.send(order_id, express=True)
    report.apply_async((7,), countdown=60)
""",
    "migration.toml": """\
[migration]
name = "shop"

[project]
root = "src"
settings = "shop.settings"

[legacy.dramatiq]
broker = "redis://127.0.0.1:6379/1"
queues = ["default"]
modules = ["orders.actors"]

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery"]
modules = ["orders.old_tasks"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "orders.ship"
path = "orders.tasks.ship"
parameters = ["order_id", "express"]
max_retries = 3

  [[task.replaces]]
  system = "dramatiq"
  name = "ship"
  path = "orders.actors.ship"
  parameters = ["order_id", "express"]

[[task]]
name = "orders.report"
path = "orders.tasks.report"
parameters = ["days"]

  [[task.replaces]]
  system = "celery"
  name = "orders.old_tasks.report"
  parameters = ["days"]

[[schedule]]
name = "nightly-report"
task = "orders.report"
crontab = "0 3 * * *"
replaces = ["shop.celery:nightly-report"]
""",
}

#: Celery to Celery: the entry of the schedule keeps its key, in the settings, and its task gets another name.
SAME_KEY = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/celery.py": """\
from celery import Celery

app = Celery("app")
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "app/jobs.py": """\
from app.celery import app


@app.task(name="old_nightly")
def nightly(days=1):
    return days
""",
    "app/new.py": """\
from app.celery import app


@app.task(name="new.nightly")
def nightly(days=1):
    return days
""",
    "app/settings.py": """\
from celery.schedules import crontab

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
CELERY_BEAT_SCHEDULE = {
    "nightly": {"task": "old_nightly", "schedule": crontab(hour=3, minute=0)},
}
""",
    "migration.toml": """\
[migration]
name = "same-key"

[project]
root = "."
settings = "app.settings"

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery"]
modules = ["app.jobs"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "new.nightly"
path = "app.new.nightly"
parameters = ["days"]

  [[task.replaces]]
  system = "celery"
  name = "old_nightly"
  path = "app.jobs.nightly"
  parameters = ["days"]

[[schedule]]
name = "nightly"
task = "new.nightly"
crontab = "0 3 * * *"
replaces = ["app.settings:nightly"]
""",
}

#: Dramatiq alone, converted where it stands.
IN_PLACE = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = ["app"]\n',
    "app/tasks.py": """\
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url="redis://127.0.0.1:6379/3"))


@dramatiq.actor
def ping(x):
    return x
""",
    "app/views.py": "from app.tasks import ping\n\n\ndef view(request):\n    ping.send(1)\n",
}

#: Its plan.
IN_PLACE_PLAN = """\
[migration]
name = "app"
[project]
root = "."
settings = "app.settings"
[legacy.dramatiq]
broker = "redis://127.0.0.1:6379/3"
queues = ["default"]
modules = ["app.tasks"]
[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]
[[task]]
name = "app.tasks.ping"
path = "app.tasks.ping"
parameters = ["x"]
[[task.replaces]]
system = "dramatiq"
name = "ping"
path = "app.tasks.ping"
parameters = ["x"]
"""

#: Both systems in packages that are called as the tool's own.
NAMESAKES = {
    "src/manage.py": MANAGE.format(settings="tasks.settings"),
    "src/checks/__init__.py": "",
    "src/checks/limits.py": "LARGEST = 5\n",
    "src/codemods/__init__.py": "FACTOR = 2\n",
    "src/migrator/__init__.py": "",
    "src/migrator/plan.py": "OFFSET = 1\n",
    "src/tasks/__init__.py": "",
    "src/tasks/settings.py": """\
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = []
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
BROKER = os.environ.get("BROKER", "redis://127.0.0.1:6379/0")
""",
    "src/tasks/work.py": """\
from checks.limits import LARGEST
from codemods import FACTOR
from migrator.plan import OFFSET


def price(amount):
    return min(amount, LARGEST) * FACTOR + OFFSET
""",
    "src/tasks/actors.py": """\
import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker
from tasks.work import price

broker = RedisBroker(url=settings.BROKER)
dramatiq.set_broker(broker)


@dramatiq.actor(broker=broker, max_retries=3)
def quote(amount):
    return price(amount)
""",
    "src/tasks/jobs.py": """\
from celery import Celery
from django.conf import settings
from tasks.work import price

app = Celery("old", broker=settings.BROKER)


@app.task(name="tasks.jobs.discount")
def discount(amount):
    return price(amount) - 1
""",
    "src/tasks/unified.py": """\
from celery import Celery
from django.conf import settings
from tasks.work import price

app = Celery("unified", broker=settings.BROKER)
app.conf.task_default_queue = "unified"


@app.task(name="shop.quote", max_retries=3)
def quote(amount):
    return price(amount)


@app.task(name="shop.discount")
def discount(amount):
    return price(amount) - 1
""",
    "migration.toml": """\
[migration]
name = "namesakes"

[project]
root = "src"
settings = "tasks.settings"

[legacy.dramatiq]
broker = "${BROKER:-redis://127.0.0.1:6379/0}"
queues = ["default"]
modules = ["tasks.actors"]

[legacy.celery]
broker = "${BROKER:-redis://127.0.0.1:6379/0}"
queues = ["celery"]
modules = ["tasks.jobs"]

[unified]
broker = "${BROKER:-redis://127.0.0.1:6379/0}"
queues = ["unified"]

[[task]]
name = "shop.quote"
path = "tasks.unified.quote"
parameters = ["amount"]
max_retries = 3

  [[task.replaces]]
  system = "dramatiq"
  name = "quote"
  path = "tasks.actors.quote"
  parameters = ["amount"]

[[task]]
name = "shop.discount"
path = "tasks.unified.discount"
parameters = ["amount"]

  [[task.replaces]]
  system = "celery"
  name = "tasks.jobs.discount"
  parameters = ["amount"]
""",
    "parity.toml": """\
cases = "cases"

[environment]
BROKER = "{redis}/0"
""",
    "cases/quote/case.toml": """\
title = "a quote"
kind = "usual"

[[call]]
system = "dramatiq"
task = "quote"
args = [9]
""",
    "cases/discount/case.toml": """\
title = "a discount"
kind = "usual"

[[call]]
system = "celery"
task = "tasks.jobs.discount"
args = [9]
""",
}

#: The processes of that project, for the end of its plan.
NAMESAKES_WORKERS = """
[[process]]
name = "actors"
side = "legacy"
role = "worker"
system = "dramatiq"
command = ["{python}", "-m", "dramatiq", "tasks.actors:broker", "--processes", "1", "--threads", "1"]
directory = "src"

[[process]]
name = "celery"
side = "legacy"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "tasks.jobs:app", "worker", "-n", "{node}"]
directory = "src"

[[process]]
name = "unified"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "tasks.unified:app", "worker", "-Q", "unified", "-n", "{node}"]
directory = "src"
"""

#: An actor beside the Celery task that replaces it; the broker of both is in a variable.
BILLS = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": "",
    "app/settings.py": 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n',
    "app/celery.py": 'from celery import Celery\n\napp = Celery("app", broker="redis://127.0.0.1:6379/0")\n',
    "app/actors.py": "import dramatiq\n\n\n@dramatiq.actor\ndef bill(order):\n    return order\n",
    "app/jobs.py": "from app.celery import app\n\n\n@app.task(name='shop.bill')\ndef bill(order):\n    return order\n",
    "app/views.py": "from app.actors import bill\n\n\ndef pay(order):\n    bill.send(order)\n",
    "migration.toml": """\
[migration]
name = "bills"
[project]
root = "."
settings = "app.settings"
[legacy.dramatiq]
broker = "${BROKER}"
queues = ["default"]
modules = ["app.actors"]
[unified]
broker = "${BROKER}"
queues = ["celery"]
[[task]]
name = "shop.bill"
path = "app.jobs.bill"
parameters = ["order"]
  [[task.replaces]]
  system = "dramatiq"
  name = "bill"
  path = "app.actors.bill"
  parameters = ["order"]
""",
}

"""Dead letters in a project with a Celery app of its own: installed under its own label, without the fourteen tasks."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from journeys.small_projects import MANAGE, Project, make_project
from waiting import wait_until

FILES = {
    "manage.py": MANAGE.format(settings="app.settings"),
    "app/__init__.py": 'from .celery import app as celery_app\n\n__all__ = ("celery_app",)\n',
    "app/settings.py": """\
import os
from pathlib import Path

BASE_DIR = Path(__file__).parents[1]
SECRET_KEY = "only for tests"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "app.urls"
STATIC_URL = "/static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
CELERY_BROKER_URL = os.environ.get("BROKER", "redis://127.0.0.1:6379/0")
""",
    "app/urls.py": "from django.contrib import admin\nfrom django.urls import path\n\n"
    'urlpatterns = [path("admin/", admin.site.urls)]\n',
    "app/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "app.settings")
app = Celery("app", include=["app.jobs"])
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "app/actors.py": "import dramatiq\n\n\n@dramatiq.actor\ndef bill(order):\n    return order\n",
    "app/jobs.py": """\
from pathlib import Path

from app.celery import app


@app.task(name="shop.bill")
def bill(order, currency="EUR"):
    if Path("repaired").exists():
        Path("billed").write_text(f"{order} {currency}")
        return
    raise ValueError(f"no price for {order}")
""",
    "migration.toml": """\
[migration]
name = "own-dead-letters"

[project]
root = "."
settings = "app.settings"
manage = ["{python}", "manage.py"]
install_package = "migrator.tasks"
install_to = "ops/deadletters"
app_label = "deadletters"
retire = ["app/actors.py"]

[legacy.dramatiq]
broker = "${BROKER:-redis://127.0.0.1:6379/0}"
queues = ["default"]
modules = ["app.actors"]

[unified]
broker = "${BROKER:-redis://127.0.0.1:6379/0}"
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

[[process]]
name = "unified-worker"
side = "unified"
role = "worker"
system = "celery"
command = ["{python}", "-m", "celery", "-A", "app", "worker", "-n", "{node}"]
""",
}
ADMIN = """\
from django.contrib.auth.models import User
from django.test import Client

client = Client()
client.force_login(User.objects.create_superuser("root", "root@example.org", "secret"))
for page in ("", "1/change/"):
    answer = client.get(f"/admin/deadletters/taskfailure/{page}")
    print(answer.status_code, "no price for" in answer.content.decode())
"""


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Project:
    made = make_project(tmp_path, FILES, environ={"BROKER": redis_url})
    done = made.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


@contextmanager
def worker(project: Project) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", "app", "worker", "-c", "1", "--without-mingle", "-n", "own@%h"]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(project.environ)
    with (project.folder / "worker.log").open("wb") as log:
        started = subprocess.Popen(command, cwd=project.folder, env=environ, stdout=log, stderr=log)
        try:
            yield
        finally:
            started.terminate()
            started.wait(60)


def dead_letters(project: Project) -> list[dict[str, str]]:
    done = project.migrator("dlq", "list", "--status", "all", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, str]] = json.loads(done.stdout)["failures"]
    return rows


def _rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        count: int = connection.execute("SELECT count(*) FROM deadletters_taskfailure").fetchone()[0]
    return count


def manage(project: Project, *words: str) -> str:
    done = project.run(sys.executable, "manage.py", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_what_any_project_can_use_is_installed(project: Project) -> None:
    package = project.folder / "ops/deadletters"
    left_out = {"unified_tasks.py", "indicators.py", "celery.py", "health.py"}
    assert not left_out & {file.name for file in package.iterdir()}
    text = "".join(file.read_text() for file in package.rglob("*.py"))
    assert not [name for name in ("numpy", "talib", "unified_tasks", "PROVIDERS") if name in text]
    assert '"ops.deadletters"' in (project.folder / "app/settings.py").read_text()
    assert project.migrator("rewrite-imports", "--check").returncode == 0
    assert "No changes detected" in manage(project, "makemigrations", "--check", "--dry-run")


def test_a_call_that_fails_for_good_is_kept_shown_and_sent_again(project: Project) -> None:
    manage(project, "migrate", "--verbosity", "0")
    with worker(project):
        unknown = r"shop.gone[/b]\x1b]52;c;x\x07\nbalance 0"
        send = f"from app.jobs import bill; bill.delay(7, currency='USD'); bill.app.send_task('{unknown}', (1,))"
        manage(project, "shell", "-c", send)
        wait_until(lambda: _rows(project.folder / "db.sqlite3") == 2, what="two dead letters")
        rows = {row["task_name"]: row for row in dead_letters(project)}
        assert rows["shop.bill"]["exception"] == "ValueError: no price for 7"
        (gone,) = rows.keys() - {"shop.bill"}
        assert "no task of this name is registered" in rows[gone]["exception"]
        for words in (("list",), ("show", str(rows[gone]["id"]))):
            told = project.migrator("dlq", *words)
            assert unknown in told.stdout and "\x1b" not in told.stdout, told.stderr
        number = str(rows["shop.bill"]["id"])
        shown = project.migrator("dlq", "show", number)
        assert shown.returncode == 0 and "USD" in shown.stdout and "Traceback" in shown.stdout
        (project.folder / "repaired").touch()
        sent = project.migrator("dlq", "retry", number)
        assert sent.returncode == 0, sent.stdout + sent.stderr
        billed = project.folder / "billed"
        wait_until(lambda: billed.exists() and billed.read_text() == "7 USD", what="the call that was sent again")
    pages = manage(project, "shell", "-c", ADMIN.replace("1/change", f"{number}/change"))
    assert pages.splitlines()[-2:] == ["200 True", "200 True"]


def test_the_workers_say_that_they_release_parked_messages(project: Project) -> None:
    done = project.migrator("cutover", "--dry-run", "--format", "json")
    found = json.loads(done.stdout)
    assert '"releases_parked": true' in json.dumps(found), done.stdout[:3000]


def test_without_an_app_label_the_database_is_left_alone(tmp_path: Path, redis_url: str) -> None:
    plan = FILES["migration.toml"].replace('install_package = "migrator.tasks"\n', "")
    plan = plan.replace('install_to = "ops/deadletters"\napp_label = "deadletters"\n', "")
    project = make_project(tmp_path, {**FILES, "migration.toml": plan}, environ={"BROKER": redis_url})
    done = project.migrator("cutover", "--dry-run")
    shown = done.stdout + done.stderr
    assert "No installed app with label" not in shown
    assert "manage.py migrate" not in shown and "DATABASE-" not in shown
    refused = project.migrator("dlq", "import-legacy")
    assert refused.returncode == 2 and "project.app_label" in refused.stderr

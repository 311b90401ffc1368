"""Settings in a class of django-configurations, and a project that sets Django up while its settings are imported."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from small_projects import Project, make_project

from migrator.plan.loader import load_plan
from migrator.project.legacy_tree import own_paths

#: A library; loans are to be moved, what is sent about them stays.
LIBRARY = {
    "manage.py": """\
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
os.environ.setdefault("DJANGO_CONFIGURATION", "Live")

from configurations.management import execute_from_command_line

execute_from_command_line(sys.argv)
""",
    "library/__init__.py": "from .celery import app as celery_app\n",
    "library/celery.py": """\
import os

import configurations
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "library.settings")
os.environ.setdefault("DJANGO_CONFIGURATION", "Live")
configurations.setup()

app = Celery("library")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "library/settings.py": """\
import os
from pathlib import Path

from configurations import Configuration

BASE_DIR = Path(__file__).resolve().parent.parent


class Base(Configuration):
    SECRET_KEY = "only for tests"
    INSTALLED_APPS = ["django_dramatiq", "loans", "letters"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "library.sqlite3"}}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    REDIS = os.environ.get("LIBRARY_REDIS", "redis://127.0.0.1:6379/0")
    DRAMATIQ_BROKER = {
        "BROKER": "dramatiq.brokers.redis.RedisBroker",
        "OPTIONS": {"url": REDIS},
        "MIDDLEWARE": ["dramatiq.middleware.TimeLimit", "dramatiq.middleware.Retries"],
    }
    CELERY_BROKER_URL = REDIS


class Live(Base):
    DEBUG = False
""",
    "loans/__init__.py": "",
    "loans/models.py": """\
from django.db import models


class Loan(models.Model):
    book = models.CharField(max_length=40)
""",
    "loans/tasks.py": """\
import dramatiq

from letters.tasks import archive, remind
from loans.models import Loan


@dramatiq.actor(max_retries=2)
def lend(book):
    Loan.objects.create(book=book)
    remind.send(book)
    archive.delay(book)
""",
    "letters/__init__.py": "",
    "letters/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor(queue_name="letters")
def remind(book):
    return book


@shared_task
def archive(book):
    return book
""",
    "parity/cases/lend/case.toml": """\
title = "a book is lent"
kind = "usual"

[[call]]
system = "dramatiq"
task = "lend"
args = ["Emma"]
""",
    ".gitignore": "*.sqlite3\n.migrator/\n__pycache__/\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Project:
    """The library with its source rewritten and committed."""
    project = make_project(tmp_path / "library", LIBRARY)
    assert project.migrator("init", "--module", "loans").returncode == 0
    project.commit()
    done = project.migrator("rewrite-imports")
    assert done.returncode == 0, done.stdout + done.stderr
    project.commit()
    return project


def outcomes(project: Project) -> dict[str, str]:
    """Return the outcome of each comparison of a parity check."""
    done = project.migrator("parity-check", "--no-waiting", "--format", "json", timeout_s=300)
    assert done.returncode in (0, 1), done.stderr
    return {item["case"]: item["outcome"] for item in json.loads(done.stdout)["parity"]["comparisons"]}


def test_the_queues_are_written_into_the_class(library: Project) -> None:
    shown = library.run(sys.executable, "manage.py", "shell", "-c", QUEUE)
    assert shown.stdout.split()[-2:] == ["unified", "celery"], shown.stderr


def test_the_paths_of_the_class_are_those_of_the_legacy_folder(library: Project) -> None:
    plan = load_plan(library.folder / "migration.toml")
    (found,) = own_paths(plan, library.folder, os.environ)
    assert found == f"DATABASES: {library.folder / 'library.sqlite3'}"


QUEUE = """\
from library.celery import app
print(*(app.amqp.router.route({}, name)["queue"].name for name in ("loans.tasks.lend", "letters.tasks.archive")))
"""


def test_parity_holds_and_the_projects_database_is_not_touched(library: Project) -> None:
    database = library.folder / "library.sqlite3"
    assert set(outcomes(library).values()) == {"matched"}
    if database.exists():
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("select name from sqlite_master").fetchall() == []


@pytest.mark.parametrize("call", ["remind.send(book)", "archive.delay(book)"])
def test_what_is_sent_to_tasks_that_stay_is_compared(library: Project, call: str) -> None:
    tasks = library.folder / "loans/tasks.py"
    text = tasks.read_text(encoding="utf-8")
    assert call in text
    tasks.write_text(text.replace(f"    {call}\n", ""), encoding="utf-8")
    assert outcomes(library)["lend"] == "mismatched"

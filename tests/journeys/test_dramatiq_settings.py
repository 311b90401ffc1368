"""Settings of django-dramatiq go with the last actor, in whatever module they stand, or stay with their app."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_projects import MANAGE, Project, make_project

BASE = """\
SECRET_KEY = "only for tests"
DJANGO_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
VENDOR_APPS = ["django_dramatiq"]
INSTALLED_APPS = DJANGO_APPS + VENDOR_APPS + ["jobs"]
REDIS = "redis://127.0.0.1:6379"
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": f"{REDIS}/0"},
    "MIDDLEWARE": ["dramatiq.middleware.Retries", "django_dramatiq.middleware.DbConnectionsMiddleware"],
}
CELERY_BROKER_URL = f"{REDIS}/1"
"""
FILES = {
    "manage.py": MANAGE.format(settings="config.settings.prod"),
    "config/__init__.py": "from .celery import app as celery_app\n\n__all__ = ['celery_app']\n",
    "config/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.prod")
app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "config/settings/__init__.py": "",
    "config/settings/base.py": BASE,
    "config/settings/prod.py": "from .base import *\n\nDEBUG = False\n",
    "jobs/__init__.py": "",
    "jobs/tasks.py": "import dramatiq\n\n\n@dramatiq.actor(max_retries=3)\ndef ship(order):\n    return order\n",
}


def convert(folder: Path, **changed: str) -> tuple[Project, str, int]:
    files = {**FILES, **{f"config/settings/{name}.py": text for name, text in changed.items()}}
    project = make_project(folder, files)
    assert project.migrator("init").returncode == 0
    project.commit()
    done = project.migrator("rewrite-imports")
    return project, done.stdout, done.returncode


def test_they_go_from_the_module_that_others_import_everything_from(tmp_path: Path) -> None:
    project, told, code = convert(tmp_path / "project")
    assert code == 0, told
    base = (project.folder / "config/settings/base.py").read_text()
    assert "ramatiq" not in base and "VENDOR_APPS = []" in base
    assert (project.folder / "config/settings/prod.py").read_text() == FILES["config/settings/prod.py"]
    assert project.run(sys.executable, "manage.py", "check").returncode == 0


def test_a_project_without_such_apps_is_not_asked_for_them(tmp_path: Path) -> None:
    start, end = BASE.index("DRAMATIQ_BROKER"), BASE.index("CELERY_BROKER_URL")
    base = (BASE[:start] + BASE[end:]).replace('"django_dramatiq"', "")
    _, told, _ = convert(tmp_path / "project", base=base)
    assert "INSTALLED_APPS" not in told


@pytest.mark.parametrize("place", ["base", "prod"])
def test_they_stay_where_the_apps_are_computed(tmp_path: Path, place: str) -> None:
    computed = 'INSTALLED_APPS = [*INSTALLED_APPS, *map(str, ["django_dramatiq"])]\n'
    texts = {"base": BASE.replace('["django_dramatiq"]', "[]"), "prod": FILES["config/settings/prod.py"]}
    texts[place] += computed
    project, told, code = convert(tmp_path / "project", **texts)
    assert code == 1 and "INSTALLED_APPS" in told, told
    assert "DRAMATIQ_BROKER" in (project.folder / "config/settings/base.py").read_text()

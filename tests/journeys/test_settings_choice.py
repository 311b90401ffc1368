"""Which settings module the plan gets: that of production, as deployment files and entry points say it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_projects import MANAGE, make_project

BASE = 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = ["mail"]\n'
ENTRY = 'import os\n\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", {settings})\n'
#: A settings package whose modules name different brokers; what is started by hand uses the one of developers.
POST = {
    "manage.py": MANAGE.format(settings="post.settings.dev"),
    "post/__init__.py": "",
    "post/settings/__init__.py": "",
    "post/settings/base.py": BASE,
    "post/settings/dev.py": 'from .base import *\n\nCELERY_BROKER_URL = "redis://127.0.0.1:6379/9"\n',
    "post/settings/live.py": 'from .base import *\n\nCELERY_BROKER_URL = "redis://broker.example:6379/1"\n',
    "post/settings/check.py": "from .base import *\n",
    "post/celery.py": """\
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "post.settings.dev")
app = Celery("post")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
""",
    "mail/__init__.py": "",
    "mail/tasks.py": "from celery import shared_task\n\n\n@shared_task\ndef deliver(letter):\n    return letter\n",
}
COMPOSE = """\
x-app: &app
  image: post
  environment: &environment
    DJANGO_SETTINGS_MODULE: ${SETTINGS:-post.settings.live}
services:
  web:
    <<: *app
    command: gunicorn post.wsgi
  worker:
    <<: *app
    command: celery -A post worker
"""
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker}
spec:
  template:
    spec:
      containers:
        - name: worker
          command: [celery, -A, post, worker]
          env:
            - name: DJANGO_SETTINGS_MODULE
              value: post.settings.live
"""
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: environment}
data:
  DJANGO_SETTINGS_MODULE: post.settings.live
"""
SUPERVISOR = """\
[program:worker]
command=celery -A post worker
environment=LANG="C.UTF-8",DJANGO_SETTINGS_MODULE="post.settings.live"
"""
UNIT = """\
[Service]
Environment="LANG=C.UTF-8" DJANGO_SETTINGS_MODULE=post.settings.live
Environment=TZ=UTC
ExecStart=/srv/post/venv/bin/celery -A post worker
"""
SCRIPT = "#!/bin/sh\ncd /srv/post\nexport DJANGO_SETTINGS_MODULE=post.settings.live\nexec celery -A post worker\n"
#: What a worker's own file says, in each way of saying it.
OWN: Mapping[str, Mapping[str, str]] = {
    "compose": {"docker-compose.yml": COMPOSE},
    "compose, a file of variables": {
        "compose.yaml": "services:\n  worker:\n    command: celery -A post worker\n    env_file: [deploy/live.env]\n",
        "deploy/live.env": "# for the workers\nexport DJANGO_SETTINGS_MODULE='post.settings.live'\n",
    },
    "manifest": {"k8s/worker.yaml": MANIFEST},
    "supervisor": {"deploy/supervisor.conf": SUPERVISOR},
    "systemd": {"deploy/worker.service": UNIT},
    "procfile": {"Procfile": "worker: DJANGO_SETTINGS_MODULE=post.settings.live celery -A post worker\n"},
    "option": {"Procfile": "worker: python manage.py rundramatiq --settings=post.settings.live\n"},
    "script": {"bin/worker.sh": SCRIPT},
}


def plan_of(folder: Path, files: Mapping[str, str]) -> dict[str, Any]:
    """Return what `init` drafts for the files."""
    project = make_project(folder, files)
    done = project.migrator("init")
    assert done.returncode == 0, done.stdout + done.stderr
    return tomllib.loads((folder / "migration.toml").read_text())


@pytest.mark.parametrize("how", OWN)
def test_the_environment_of_a_worker_names_its_settings(tmp_path: Path, how: str) -> None:
    plan = plan_of(tmp_path, {**POST, **OWN[how]})
    assert plan["project"]["settings"] == "post.settings.live"
    assert plan["legacy"]["celery"]["broker"] == "redis://broker.example:6379/1"
    for process in plan["process"]:
        if process.get("driver", "command") == "command" and process["side"] == "unified":
            assert process["environment"]["DJANGO_SETTINGS_MODULE"].endswith(("post.settings.live", "live}"))


#: What other files say: nothing of a worker's own.
DIFFERENT: Mapping[str, Mapping[str, str]] = {
    "wsgi": {"post/wsgi.py": ENTRY.format(settings='"post.settings.live"')},
    "image": {"Dockerfile": "FROM python:3.11\nENV DJANGO_SETTINGS_MODULE post.settings.live\n"},
    "config map": {"k8s/environment.yml": CONFIG_MAP},
    "two workers": {
        "Procfile": """\
mail: DJANGO_SETTINGS_MODULE=post.settings.dev celery -A post worker -Q celery
late: DJANGO_SETTINGS_MODULE=post.settings.live celery -A post worker -Q late
"""
    },
    "computed": {"post/asgi.py": ENTRY.format(settings="f\"post.settings.{os.environ['STAGE']}\"")},
}


@pytest.mark.parametrize("how", DIFFERENT)
def test_where_files_differ_both_places_are_named(tmp_path: Path, how: str) -> None:
    settings = plan_of(tmp_path, {**POST, **DIFFERENT[how]})["project"]["settings"]
    assert settings.startswith("DECIDE: which settings production uses: ")
    place = next(iter(DIFFERENT[how]))
    first = "Procfile:1" if how == "two workers" else "manage.py:4"
    assert f"{first} says post.settings.dev" in settings
    assert f"{place}:" in settings
    assert ("post.settings.${STAGE}" if how == "computed" else "post.settings.live") in settings


def test_what_all_candidates_have_in_common_is_known(tmp_path: Path) -> None:
    both = BASE + 'CELERY_BROKER_URL = "redis://broker.example:6379/4"\n'
    one_sided = {"post/settings/dev.py": "from .base import *\n", "post/settings/live.py": "from .base import *\n"}
    files = {**POST, **DIFFERENT["wsgi"], **one_sided, "post/settings/base.py": both}
    assert plan_of(tmp_path / "same", files)["legacy"]["celery"]["broker"] == "redis://broker.example:6379/4"
    asked = plan_of(tmp_path / "differ", {**POST, **DIFFERENT["wsgi"]})["legacy"]["celery"]["broker"]
    assert asked.startswith("DECIDE: the broker is not the same everywhere: ")


#: Named, and not for production.
OTHERS = {
    "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = post.settings.check\n",
    ".gitlab-ci.yml": "variables:\n  DJANGO_SETTINGS_MODULE: post.settings.check\n",
    "post/wsgi.py": ENTRY.format(settings='"post.settings.dev"'),
    "shop/manage.py": MANAGE.format(settings="shop.settings"),
    "shop/shop/__init__.py": "",
    "shop/shop/settings.py": BASE,
    "shop/Dockerfile": "FROM python:3.11\n# ENV DJANGO_SETTINGS_MODULE=post.settings.live\n"
    "ENV DJANGO_SETTINGS_MODULE=shop.settings\n",
}


def test_settings_of_tests_and_of_another_project_say_nothing(tmp_path: Path) -> None:
    assert plan_of(tmp_path, {**POST, **OTHERS})["project"]["settings"] == "post.settings.dev"

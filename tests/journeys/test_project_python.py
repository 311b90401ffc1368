"""The tool in its own environment, the project in another: an older Python, older libraries, nothing of ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from environments import OLDEST, environment, interpreter
from small_projects import MANAGE, Project, make_project

from migrator.embedded_redis import EmbeddedServer

#: Raises wherever a library of the tool can be imported, or another version than the environment's.
SETTINGS = """\
import importlib.util
import os
import sys

import django

assert sys.version_info[:2] == (3, 9), sys.version
assert django.VERSION[:2] == (4, 2), django.VERSION
for name in ("migrator", "codemods", "libcst", "orjson", "time_machine"):
    if importlib.util.find_spec(name) is not None:
        raise RuntimeError(f"{name} of the tool is on the project's path: {sys.path}")
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django_dramatiq"]
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
REDIS = os.environ.get("CINEMA_REDIS", "redis://127.0.0.1:6379")
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": f"{REDIS}/0"},
    "MIDDLEWARE": [f"dramatiq.middleware.{name}" for name in ("AgeLimit", "TimeLimit", "Callbacks", "Retries")],
}
CELERY_BROKER_URL = f"{REDIS}/1"
CELERY_TASK_DEFAULT_QUEUE = "unified"
"""
#: A package that has the name of one of the tool's, and a body that asks for the time in each way there is.
FILES: Mapping[str, str] = {
    ".gitignore": ".migrator/\n.venv\n__pycache__/\n*.sqlite3\n",
    "manage.py": MANAGE.format(settings="cinema.settings"),
    "cinema/__init__.py": "from .celery import app as celery_app\n",
    "cinema/settings.py": SETTINGS,
    "cinema/celery.py": """\
from celery import Celery

app = Celery("cinema")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["cinema.unified"], related_name=None)
""",
    "checks/__init__.py": "",
    "checks/times.py": """\
import time
import uuid
from datetime import date, datetime, timezone
from time import time as present

from django.utils import timezone as of_django


def times():
    return [
        present(), time.time_ns(), time.strftime("%Y-%m-%d"), datetime.now(timezone.utc), datetime.today(),
        date.today(), of_django.now(), uuid.uuid1().time,
    ]
""",
    "cinema/actors.py": """\
import dramatiq
from checks.times import times


@dramatiq.actor(max_retries=3)
def remind(seat, row="A"):
    if seat < 0:
        raise ValueError(f"no seat {seat}")
    return [seat, row, times()]
""",
    "cinema/unified.py": """\
from celery import shared_task
from checks.times import times


@shared_task(
    name="cinema.remind", autoretry_for=(Exception,), max_retries=3, retry_backoff=15, retry_backoff_max=604_800,
    retry_jitter=False, ignore_result=True, acks_late=True, reject_on_worker_lost=True, soft_time_limit=600,
    time_limit=600,
)
def remind(seat, row="A"):
    if seat < 0:
        raise ValueError(f"no seat {seat}")
    return [seat, row, times()]
""",
    "migration.toml": """\
[migration]
name = "cinema"

[project]
root = "."
settings = "cinema.settings"

[legacy.dramatiq]
broker = "${CINEMA_REDIS:-redis://127.0.0.1:6379}/0"
queues = ["default"]
modules = ["cinema.actors"]

[unified]
broker = "${CINEMA_REDIS:-redis://127.0.0.1:6379}/1"
queues = ["unified"]

[[task]]
name = "cinema.remind"
path = "cinema.unified.remind"
parameters = ["seat", "row"]
max_retries = 3

[[task.replaces]]
system = "dramatiq"
name = "remind"
path = "cinema.actors.remind"
parameters = ["seat", "row"]

[[process]]
name = "actors"
side = "legacy"
role = "worker"
system = "dramatiq"
command = ["{python}", "manage.py", "rundramatiq", "--processes", "1", "--threads", "1"]

[[process]]
name = "unified"
side = "unified"
role = "worker"
command = ["{python}", "-m", "celery", "-A", "cinema", "worker", "-Q", "unified", "--pool", "solo", "-n", "{node}"]
""",
    "parity.toml": 'cases = "cases"\n',
    "waivers.toml": """\
[[waiver]]
id = "waits"
tasks = ["*"]
paths = ["policy.*", "retry.delay_s"]
reason = "no jitter"
owner = "cinema"
expires = 2099-01-01
""",
    "cases/seat/case.toml": """\
title = "a seat"
kind = "usual"

[[call]]
system = "dramatiq"
task = "remind"
args = [4]
""",
    "cases/no-seat/case.toml": """\
title = "no such seat"
kind = "malformed"
legacy_ends = "retry"
unified_ends = "retry"

[[call]]
system = "dramatiq"
task = "remind"
args = [-1]
""",
}
PLAN = FILES["migration.toml"]


@pytest.fixture(scope="session")
def oldest() -> Path:
    return environment(OLDEST)


@pytest.fixture
def cinema(tmp_path: Path, redis_server: EmbeddedServer) -> Project:
    environ = {"CINEMA_REDIS": redis_server.url().rpartition("/")[0], "VIRTUAL_ENV": ""}
    return make_project(tmp_path / "cinema", FILES, environ)


def with_python(project: Project, python: str) -> Project:
    (project.folder / "migration.toml").write_text(
        PLAN.replace('root = "."\n', f'root = "."\npython = {python}\n'), encoding="utf-8"
    )
    return project


def interpreter_of(project: Project, code: int = 0) -> dict[str, str]:
    done = project.migrator("status", "--format", "json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout)["interpreter"]
    return found


@pytest.mark.parametrize("options", [(), ("--through-broker",)], ids=["by the agent", "by its workers"])
def test_both_sides_run_in_the_interpreter_of_the_project(
    cinema: Project, oldest: Path, options: tuple[str, ...]
) -> None:
    with_python(cinema, json.dumps(str(oldest / "bin/python")))
    cinema.migrator("parity-check", "--accept", "waits", *options)
    done = cinema.migrator("parity-check", "--format", "json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["parity"]
    assert report["counts"]["compared"] == 6
    assert report["counts"]["could-not-compare"] == 0


def other_environment(folder: Path, base: Path) -> Path:
    """Return an environment like another one, at a place of its own."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").symlink_to(base / "bin/python")
    (folder / "pyvenv.cfg").write_text((base / "pyvenv.cfg").read_text())
    (folder / "lib").symlink_to(base / "lib")
    return folder


def test_it_is_found_where_it_is_obvious(cinema: Project, oldest: Path, tmp_path: Path) -> None:
    assert "the tool's own" in interpreter_of(cinema)["source"]

    workers = PLAN.replace('["{python}", "manage.py"', f'["{oldest}/bin/python", "manage.py"')
    (cinema.folder / "migration.toml").write_text(workers, encoding="utf-8")
    assert interpreter_of(cinema) == {
        "command": f"{oldest}/bin/python",
        "source": "the command of the process actors",
    }
    (cinema.folder / "migration.toml").write_text(PLAN, encoding="utf-8")

    (cinema.folder / ".venv").symlink_to(oldest)
    own = {"command": f"{cinema.folder}/.venv/bin/python", "source": ".venv in the project"}
    assert interpreter_of(cinema) == own
    # The same one is no second one, nor is that of the tool, which may be active as well.
    tool = str(Path(sys.executable).parents[1])
    for active in (str(oldest), tool):
        (cinema.environ)["VIRTUAL_ENV"] = active  # type: ignore[index]
        assert interpreter_of(cinema)["command"].endswith("bin/python")
        assert tool not in interpreter_of(cinema)["command"]
    assert cinema.migrator("parity-check", "--accept", "waits").returncode in (0, 1)

    cinema.environ["VIRTUAL_ENV"] = str(other_environment(tmp_path / "active", oldest))  # type: ignore[index]
    refused = cinema.migrator("parity-check")
    assert refused.returncode == 2
    for path in (f"{tmp_path}/active/bin/python", f"{cinema.folder}/.venv/bin/python"):
        assert path in refused.stderr
    assert f'python = ["{tmp_path}/active/bin/python"]' in refused.stderr
    assert "is not clear" in interpreter_of(cinema, 2)["problem"]
    with_python(cinema, '".venv/bin/python"')
    assert interpreter_of(cinema) == {**own, "source": "the plan's [project] python"}


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("nowhere/bin/python", ("can't be executed", "No such file or directory")),
        (["env", "python3", "-c", "print('no interpreter')"], ("does not run the agent",)),
        (["sh", "-c", "echo no such pod >&2; exit 1"], ("does not run the agent", "no such pod")),
    ],
    ids=["nowhere", "something else", "fails"],
)
def test_what_is_no_interpreter_is_told_in_one_sentence(
    cinema: Project, python: object, words: tuple[str, ...]
) -> None:
    done = with_python(cinema, json.dumps(python)).migrator("parity-check")
    assert done.returncode == 3, done.stdout + done.stderr
    for word in (*words, "is this the right one? set `[project] python`"):
        assert word in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_package_that_it_lacks_is_named(cinema: Project, oldest: Path) -> None:
    done = with_python(cinema, json.dumps([str(oldest / "bin/python"), "-S"])).migrator("parity-check")
    assert done.returncode == 3
    assert f"the project's interpreter ({oldest}/bin/python -S" in done.stderr
    assert "has no `django`" in done.stderr

    with_python(cinema, json.dumps(str(oldest / "bin/python")))
    settings = cinema.folder / "cinema/settings.py"
    settings.write_text(SETTINGS.replace('["django_dramatiq"]', '["django_dramatiq", "corsheaders"]'))
    done = cinema.migrator("parity-check")
    assert done.returncode == 3
    assert "has no `corsheaders`" in done.stderr
    assert "is this the right one? set `[project] python`" in done.stderr
    listed = cinema.migrator("dlq", "list")
    assert listed.returncode == 2  # no app has a table of them


def test_settings_that_raise_are_told_with_their_error(cinema: Project, oldest: Path) -> None:
    with_python(cinema, json.dumps(str(oldest / "bin/python")))
    settings = cinema.folder / "cinema/settings.py"
    settings.write_text('raise RuntimeError("SECRET_KEY is not set")\n')
    done = cinema.migrator("parity-check")
    assert done.returncode == 3
    assert "the project's settings or apps can't be loaded (RuntimeError: SECRET_KEY is not set)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_python_that_is_too_old_is_told(cinema: Project) -> None:
    done = with_python(cinema, json.dumps(interpreter("3.8"))).migrator("parity-check")
    assert done.returncode == 3
    assert "Python 3.8 is older than 3.9" in done.stderr


def test_a_draft_asks_only_where_two_differ(cinema: Project, oldest: Path, tmp_path: Path) -> None:
    plan = cinema.folder / "migration.toml"
    (cinema.folder / ".venv").symlink_to(oldest)
    assert cinema.migrator("init", "--in-place", "--force").returncode == 0
    assert "python =" not in plan.read_text()

    cinema.environ["VIRTUAL_ENV"] = str(other_environment(tmp_path / "active", oldest))  # type: ignore[index]
    assert cinema.migrator("init", "--in-place", "--force").returncode == 0
    line = f'python = "DECIDE: {tmp_path}/active/bin/python or {cinema.folder}/.venv/bin/python"'
    assert line in plan.read_text()
    assert "project.python" in cinema.migrator("parity-check").stderr

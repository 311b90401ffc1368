"""Importing, settings and brokers: what needs no worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tasks_host import APP

#: Reports every attempt to reach a server; Django and Celery are installed, nothing else is there.
WATCHED_IMPORT = """
import json, sys
reached = []
sys.addaudithook(lambda event, args: reached.append(str(args[1:])) if event in
                 ("socket.connect", "socket.getaddrinfo", "socket.sendto") else None)
import {package}.unified_tasks as tasks
import os
print(json.dumps([reached, sorted(tasks._scraper_cache), os.environ["DJANGO_SETTINGS_MODULE"],
                  callable(tasks.fetch_yahoo_stocks.delay), sorted(vars(tasks))]))
"""


def bare_environment(**more: str) -> dict[str, str]:
    """No keys, no URLs, no settings module."""
    inherited = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name in inherited} | more


def python(*arguments: str, cwd: Path, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=bare_environment(**environ), timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("package", ["migrator.tasks", "tasks"])
def test_import_needs_nothing(tmp_path: Path, package: str) -> None:
    """No Redis, no network, no keys, no settings: no socket, no provider, all documented names."""
    if package == "tasks":
        shutil.copytree(APP, tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    reached, created, settings_module, sendable, names = json.loads(
        python("-c", WATCHED_IMPORT.format(package=package), cwd=tmp_path)
    )
    assert (reached, created, sendable) == ([], [], True)
    assert settings_module == "migrator.tasks.settings"
    assert {"get_yahoo_scraper", "get_active_symbols", "send_to_dead_letter", "_scraper_cache"} <= set(names)
    assert list(tmp_path.glob("*.sqlite3")) == []


def test_given_settings_module_stays(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "settings.py").write_text("SECRET_KEY = 'x'")
    answer = python(
        "-c", WATCHED_IMPORT.format(package="migrator.tasks"), cwd=tmp_path, DJANGO_SETTINGS_MODULE="core.settings"
    )
    assert json.loads(answer)[2] == "core.settings"


def test_on_its_own(tmp_path: Path) -> None:
    """A project without settings: the app brings its own, with a SQLite file; no migration is missing."""
    django = ("-m", "django")
    settings = {"DJANGO_SETTINGS_MODULE": "migrator.tasks.settings"}
    assert "No changes detected" in python(*django, "makemigrations", "--check", cwd=tmp_path, **settings)
    python(*django, "migrate", "--verbosity", "0", cwd=tmp_path, **settings)
    assert (tmp_path / "unified_tasks.sqlite3").exists()
    python(*django, "check", "--fail-level", "WARNING", cwd=tmp_path, **settings)
    answer = python(*django, "taskfailures", "--format", "json", "list", cwd=tmp_path, **settings)
    assert json.loads(answer) == {"failures": []}


CONFIGURATION = """
import json
from migrator.tasks.celery import app
c = app.conf
queues = {name: queue.max_priority for name, queue in app.amqp.queues.items()}
from migrator.tasks import unified_tasks as u
print(json.dumps({
    "broker": c.broker_url, "backend": c.result_backend, "queue": c.task_default_queue, "queues": queues,
    "late": [c.task_acks_late, c.task_reject_on_worker_lost, c.worker_prefetch_multiplier],
    "options": dict(c.broker_transport_options), "accept": list(c.accept_content),
    "limits": [c.task_soft_time_limit, c.task_time_limit], "consumer": c.worker_consumer,
    "schedule": sorted(c.beat_schedule),
    "priorities": [u.fetch_yahoo_stocks.priority, u.fetch_news.priority, u.cleanup_old_data.priority],
}))
"""


def configuration(tmp_path: Path, **environ: str) -> dict:
    return json.loads(python("-c", CONFIGURATION, cwd=tmp_path, **environ))


def test_defaults_on_redis(tmp_path: Path) -> None:
    found = configuration(tmp_path)
    assert (found["broker"], found["backend"]) == ("redis://localhost:6379/0", "redis://localhost:6379/1")
    assert (found["queue"], list(found["queues"]), found["late"]) == ("unified", ["unified"], [True, True, 1])
    assert found["options"] == {"visibility_timeout": 3600}
    assert found["accept"] == ["json"]
    soft_s, hard_s = found["limits"]
    assert soft_s < hard_s
    # The longest wait of a retry and the longest run together stay below the visibility timeout.
    assert 960 + hard_s < 3600
    assert found["consumer"] == "migrator.tasks.consumer:DeadLetterConsumer"
    assert found["priorities"] == [0, 5, 9]


def test_defaults_on_rabbitmq(tmp_path: Path) -> None:
    """Higher runs first there, and the queue has to be declared with its highest priority."""
    found = configuration(tmp_path, CELERY_BROKER_URL="amqp://guest:guest@localhost//")
    assert found["queues"] == {"unified": 9}
    assert found["priorities"] == [9, 5, 1]
    assert found["options"] == {}


def test_project_settings_win(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from migrator.tasks.settings import *\n"
        "CELERY_TASK_DEFAULT_QUEUE = 'other'\nCELERY_WORKER_PREFETCH_MULTIPLIER = 4\n"
        "CELERY_BROKER_TRANSPORT_OPTIONS = {'visibility_timeout': 99, 'sep': ':'}\n"
        "CELERY_TASK_ACKS_LATE = False\nCELERY_BEAT_SCHEDULE = {}\nCELERY_WORKER_CONSUMER = 'my:Own'\n"
    )
    found = configuration(tmp_path, DJANGO_SETTINGS_MODULE="mine")
    assert found["queue"] == "other"
    assert found["late"] == [False, True, 4]
    assert (found["schedule"], found["consumer"]) == ([], "my:Own")
    assert found["options"] == {"visibility_timeout": 99, "sep": ":"}


def test_wrong_database_url_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import migrator.tasks.settings"], cwd=tmp_path, timeout=60,
        env=bare_environment(DATABASE_URL="mysql://x/y"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "DATABASE_URL: unsupported scheme (found 'mysql')" in done.stderr

"""What `inspect` lists and `init` drafts on projects that nobody has seen, and what becomes of an unedited draft."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from small_projects import MANAGE, SRC_ROOT, Project, make_project

COMMANDS = (
    "status",
    "rewrite-imports --check",
    "rewrite-imports",
    "parity-check",
    "rehearse",
    "cutover --yes",
    "cutover --dry-run",
    "rollback --yes",
    "complete",
    "workers list",
    "transfer --dry-run",
    "dlq list",
)


def test_open_decisions_are_refused_by_every_command_with_their_lines(tmp_path: Path) -> None:
    plan = SRC_ROOT["migration.toml"]
    plan = plan.replace('broker = "redis://127.0.0.1:6379/1"', 'broker = "DECIDE: which server"')
    plan += '\n[[retired_schedule]]\nname = "shop.celery:weekly"\nreason = "DECIDE: why"\n'
    project = make_project(tmp_path, {**SRC_ROOT, "migration.toml": plan})
    lines = [index for index, line in enumerate(plan.splitlines(), 1) if "DECIDE" in line]
    for command in COMMANDS:
        done = project.migrator(*command.split())
        assert done.returncode == 2, f"{command}: {done.returncode} {done.stdout} {done.stderr}"
        for line in lines:
            assert f"line {line}: " in done.stderr, f"{command}: {done.stderr}"
        assert "Traceback" not in done.stderr
    assert project.changed() == ""


@pytest.mark.parametrize("command", ["cutover --dry-run", "cutover --yes", "rehearse --no-waiting"])
def test_a_plan_without_workers_is_refused_in_words(tmp_path: Path, command: str) -> None:
    done = make_project(tmp_path, SRC_ROOT).migrator(*command.split())
    assert done.returncode in (2, 3, 4), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for missing in ("no unified worker", "no legacy dramatiq worker", "no legacy celery worker"):
        assert missing in done.stdout + done.stderr


def test_all_that_can_not_hold_is_listed_in_one_go(tmp_path: Path) -> None:
    plan = SRC_ROOT["migration.toml"]
    plan = plan.replace("0 3 * * *", "0 25 * * *").replace('broker = "redis://127.0.0.1:6379/1"', 'broker = "http://x"')
    plan = plan.replace('settings = "shop.settings"', 'settings = "shop/settings.py"').replace(
        'root = "src"', 'root = "/"'
    )
    done = make_project(tmp_path, {**SRC_ROOT, "migration.toml": plan}).migrator("status")
    assert done.returncode == 2
    for where in ("project.root", "project.settings", "legacy.dramatiq.broker", "schedule[0].crontab"):
        (problem,) = (line for line in done.stderr.splitlines() if f": {where}: " in line)
        number = int(problem.strip().removeprefix("line ").partition(":")[0])
        assert plan.splitlines()[number - 1].startswith(where.rpartition(".")[2])


#: Actors that django_dramatiq runs, a Celery task, and settings that say where both lie.
BAKERY = {
    "manage.py": MANAGE.format(settings="bakery.settings"),
    "bakery/__init__.py": "from .celery import app as celery_app\n",
    "bakery/celery.py": """\
from celery import Celery

app = Celery("bakery")
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "bakery/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django_dramatiq", "bread"]
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": "redis://127.0.0.1:6379/4"},
    "MIDDLEWARE": ["dramatiq.middleware.AgeLimit", "dramatiq.middleware.Retries"],
}
CELERY_BROKER_URL = "redis://127.0.0.1:6379/5"
""",
    "bread/__init__.py": "",
    "bread/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor
def bake(loaf):
    return loaf


@dramatiq.actor(queue_name="cakes")
def frost(cake):
    return cake


@shared_task
def count(day):
    return day
""",
}
ONLY_PROCFILE = {"Procfile": "actors: python manage.py rundramatiq -p 3 -t 2\n"}


def drafted(project: Project, *options: str) -> dict[str, Any]:
    """Return what `init --in-place` writes."""
    done = project.migrator("init", "--in-place", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return tomlkit.parse((project.folder / "migration.toml").read_text()).unwrap()


def processes(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {process["name"]: process for process in plan["process"]}


def test_the_capacity_of_rundramatiq_is_carried_over(tmp_path: Path) -> None:
    project = make_project(tmp_path / "bakery", {**BAKERY, **ONLY_PROCFILE})
    seen = json.loads(project.migrator("inspect", "--format", "json").stdout)["processes"]
    assert [(item["system"], item["command"]) for item in seen] == [
        ("dramatiq", "python manage.py rundramatiq -p 3 -t 2")
    ]
    plan = drafted(project)
    legacy, unified = processes(plan)["legacy-actors"], processes(plan)["unified-worker"]
    assert legacy["command"] == ["python", "manage.py", "rundramatiq", "-p", "3", "-t", "2"]
    assert unified["command"][:5] == ["{python}", "-m", "celery", "-A", "bakery"]
    assert "--concurrency=6" in unified["command"]
    assert "# actors: 3 processes of 2 threads" in (project.folder / "migration.toml").read_text()


COMPOSE = """\
services:
  actors:
    command: sh -c "cd /app && exec poetry run python manage.py rundramatiq -p 2 -t 4"
    environment: [MODE=live]
  cakes:
    command: ["python", "manage.py", "rundramatiq", "--processes", "1", "--threads", "1", "--queues", "cakes"]
  celery:
    command: celery -A bakery worker -l warning -c 3 -E
    stop_grace_period: 1m30s
  beat:
    command: celery -A bakery beat -l warning
"""


def test_a_process_that_several_files_describe_is_drafted_once(tmp_path: Path) -> None:
    supervisor = "[program:actors]\ncommand=python manage.py rundramatiq -p 1\nstopwaitsecs=60\n"
    files = {**BAKERY, **ONLY_PROCFILE, "deploy/app.conf": supervisor, "docker-compose.yml": COMPOSE}
    project = make_project(tmp_path / "bakery", files)
    done = project.migrator("init", "--in-place")
    plan = tomlkit.parse((project.folder / "migration.toml").read_text()).unwrap()
    assert [(p["name"], p.get("program")) for p in plan["process"] if p["side"] == "legacy"] == [
        ("legacy-actors", "actors"),
        ("legacy-celery", None),
        ("legacy-beat", None),
    ]
    assert "3 of 3 processes in deployment files are in the plan" in done.stdout


def test_what_can_not_be_read_is_told_with_file_and_line(tmp_path: Path) -> None:
    chart = "kind: Deployment\n{{ if .x }}\ncommand: [python, manage.py, rundramatiq]\n{{ end }}\n"
    compose = "services:\n  worker:\n    command: $CMD\n"
    project = make_project(tmp_path / "bakery", {**BAKERY, "chart/worker.yaml": chart, "compose.yml": compose})
    for command in ("inspect", "init --in-place"):
        done = project.migrator(*command.split())
        assert "chart/worker.yaml:3: " in done.stdout, done.stdout + done.stderr
        assert "compose.yml:3: " in done.stdout
    assert "0 of 2 processes" in done.stdout

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


def test_workers_of_their_own_queues_keep_them_and_celerys_options_stay(tmp_path: Path) -> None:
    project = make_project(tmp_path / "bakery", {**BAKERY, "docker-compose.yml": COMPOSE})
    found = processes(drafted(project))
    assert list(found) == [
        *("legacy-actors", "legacy-cakes", "legacy-celery", "legacy-beat"),
        *("unified-worker", "unified-worker-cakes", "unified-scheduler"),
    ]
    assert found["legacy-actors"]["command"][:2] == ["poetry", "run"]
    assert found["legacy-actors"]["environment"] == {"MODE": "live"}
    both, cakes = found["unified-worker"], found["unified-worker-cakes"]
    assert both["command"][5:] == [
        *("worker", "-l", "warning", "-E", "--concurrency=11", "-Q", "unified,cakes", "-n", "{node}")
    ]
    assert cakes["command"][-5:] == ["--concurrency=1", "-Q", "cakes", "-n", "{node}"]
    assert both["stop_timeout_s"] == 90
    assert "-l" in found["unified-scheduler"]["command"]


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


def test_what_its_manager_can_not_run_is_drafted_from_another_file(tmp_path: Path) -> None:
    supervisor = "[supervisord]\n\n[program:actors]\ncommand=python manage.py rundramatiq -p 3 -t 2\n"
    project = make_project(tmp_path / "bakery", {**BAKERY, **ONLY_PROCFILE, "deploy/app.conf": supervisor})
    seen = json.loads(project.migrator("inspect", "--format", "json").stdout)["processes"]
    assert [item["queues"] for item in seen] == ["default, cakes", "default, cakes"]
    done = project.migrator("init")
    assert "1 of 1 processes in deployment files are in the plan" in done.stdout
    assert "not in the plan as it stands: deploy/app.conf:3: actors: supervisor can't be told" in done.stdout
    text = (project.folder / "migration.toml").read_text()
    assert "# procfile actors, Procfile:1; also supervisor deploy/app.conf:3" in text


def test_what_can_not_be_read_is_told_with_file_and_line(tmp_path: Path) -> None:
    chart = "kind: Deployment\n{{ if .x }}\ncommand: [python, manage.py, rundramatiq]\n{{ end }}\n"
    compose = "services:\n  worker:\n    command: $CMD\n"
    project = make_project(tmp_path / "bakery", {**BAKERY, "chart/worker.yaml": chart, "compose.yml": compose})
    for command in ("inspect", "init --in-place"):
        done = project.migrator(*command.split())
        assert "chart/worker.yaml:3: " in done.stdout, done.stdout + done.stderr
        assert "compose.yml:3: " in done.stdout
    assert "0 of 2 processes" in done.stdout


SHOP = {
    **BAKERY,
    "bakery/settings.py": """\
import os
from datetime import timedelta

from celery.schedules import crontab

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django_dramatiq", "bread"]
HOST = os.getenv("REDIS_HOST", "127.0.0.1")
REDIS = "redis://%s:%s" % (HOST, os.environ.get("REDIS_PORT", 6379))
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": REDIS + "/4", "namespace": "oven"},
    "MIDDLEWARE": ["dramatiq.middleware.AgeLimit", "dramatiq.middleware.Retries"],
}
CELERY_BROKER_URL = f"{REDIS}/5"
CELERY_TASK_DEFAULT_QUEUE = "kitchen"
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 12 * 3600,
    "priority_steps": list(range(10)),
    "sep": ":",
    "global_keyprefix": "bakery:",
}
CELERY_TASK_ROUTES = {"bread.tasks.deliver": {"queue": "road"}}
CELERY_BEAT_SCHEDULE = {
    "morning": {"task": "count", "schedule": crontab(minute=30, hour="5,6", day_of_week="mon-fri"), "args": (1,)},
    "often": {"task": "count", "schedule": timedelta(minutes=5), "kwargs": {"day": 2}, "options": {"expires": 60}},
    "now-and-then": {"task": "count", "schedule": 7.5},
    "computed": {"task": "count", "schedule": crontab(hour=os.environ["HOUR"])},
    "stranger": {"task": "somebody.elses", "schedule": 60},
}
""",
    "bread/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor(max_retries=0)
def bake(loaf):
    return loaf


@dramatiq.actor(queue_name="cakes", priority=10, min_backoff=1000)
def frost(cake):
    return cake


@shared_task(name="count", autoretry_for=(OSError,))
def count(day):
    return day


@shared_task(bind=True, max_retries=7, priority=9)
def deliver(self, loaf):
    raise self.retry()
""",
}


def test_a_draft_keeps_what_the_source_says(tmp_path: Path) -> None:
    plan = drafted(make_project(tmp_path / "bakery", SHOP))
    base = "redis://${REDIS_HOST:-127.0.0.1}:${REDIS_PORT:-6379}"
    actors, celery, unified = plan["legacy"]["dramatiq"], plan["legacy"]["celery"], plan["unified"]
    assert (actors["broker"], actors["namespace"]) == (f"{base}/4", "oven")
    assert actors["queues"] == ["default", "cakes"]
    assert (celery["broker"], celery["queues"], celery["key_prefix"]) == (f"{base}/5", ["kitchen", "road"], "bakery:")
    assert (unified["broker"], unified["queues"]) == (f"{base}/5", ["unified", "cakes"])
    for table in (celery, unified):
        assert table["visibility_timeout_s"] == 43200
        assert (table["priority_steps"], table["priority_separator"]) == (list(range(10)), ":")
    tasks = {task["path"].rpartition(".")[2]: task for task in plan["task"]}
    assert {name: task.get("max_retries") for name, task in tasks.items()} == {
        "bake": 0,
        "frost": 20,
        "count": 3,
        "deliver": 7,
    }
    assert {name: task["priority"] for name, task in tasks.items()} == {
        "bake": "HIGH",
        "frost": "MEDIUM",
        "count": "MEDIUM",
        "deliver": "LOW",
    }
    assert (tasks["count"]["name"], tasks["frost"]["queue"]) == ("count", "cakes")
    assert tasks["frost"]["replaces"][0]["queue"] == "cakes"


def test_a_draft_keeps_the_schedule_and_asks_only_what_can_not_be_known(tmp_path: Path) -> None:
    project = make_project(tmp_path / "bakery", SHOP)
    done = project.migrator("init")
    plan = tomlkit.parse((project.folder / "migration.toml").read_text()).unwrap()
    entries = {entry["name"]: entry for entry in plan["schedule"]}
    assert {name: entry["task"] for name, entry in entries.items()} == dict.fromkeys(entries, "count")
    assert (entries["morning"]["crontab"], entries["morning"]["kwargs"]) == ("30 5,6 * * mon-fri", {"day": 1})
    assert (entries["often"]["every_s"], entries["often"]["kwargs"]) == (300, {"day": 2})
    assert entries["now-and-then"]["every_s"] == 7.5
    assert entries["computed"]["crontab"].startswith("DECIDE: ")
    (stranger,) = plan["retired_schedule"]
    assert stranger["reason"].startswith("DECIDE: its task somebody.elses is none of the plan's")
    assert "2 decisions are left to you" in done.stdout
    lines = (project.folder / "migration.toml").read_text().splitlines()
    refused = project.migrator("rewrite-imports")
    assert refused.returncode == 2
    for number, line in enumerate(lines, 1):
        assert (f"line {number}: " in refused.stderr) is ("DECIDE" in line and not line.startswith("#"))


def test_a_project_that_says_everything_needs_no_decision(tmp_path: Path) -> None:
    project = make_project(tmp_path / "bakery", {**BAKERY, **ONLY_PROCFILE})
    done = project.migrator("init")
    assert "no decision is left open" in done.stdout
    project.commit()
    checked = project.migrator("rewrite-imports", "--check")
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr


FORMS = {
    'RedisBroker(host="cache", port=6380, db=3)': "redis://cache:6380/3",
    'RedisBroker(url=os.environ["BROKER"])': "${BROKER}",
    'RabbitmqBroker(url="amqp://u:p@mq:5673/shop")': "amqp://u:p@mq:5673/shop",
    'RedisBroker(client=redis.Redis.from_url("redis://cache/2"))': "redis://cache/2",
    'RedisBroker(client=redis.Redis(host="cache", db=7))': "redis://cache:6379/7",
    "RedisBroker()": "redis://localhost:6379/0",
    'RedisBroker(url="redis://a/0" if os.environ.get("X") else "redis://b/0")': "DECIDE: ",
    "RedisBroker(**options())": "DECIDE: ",
}


@pytest.mark.parametrize("form", FORMS)
def test_the_broker_of_the_source_is_the_one_of_the_plan(tmp_path: Path, form: str) -> None:
    source = (
        "import os\n\nimport dramatiq\nimport redis\nfrom dramatiq.brokers.rabbitmq import RabbitmqBroker\n"
        f"from dramatiq.brokers.redis import RedisBroker\n\ndramatiq.set_broker({form})\n\n\n"
        "@dramatiq.actor\ndef ping(x):\n    return x\n"
    )
    settings = 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n'
    files = {"manage.py": MANAGE.format(settings="app.settings"), "app/__init__.py": "", "app/settings.py": settings}
    plan = drafted(make_project(tmp_path / "app", {**files, "app/tasks.py": source}))
    broker = plan["legacy"]["dramatiq"]["broker"]
    assert broker.startswith(FORMS[form]) if FORMS[form].startswith("DECIDE") else broker == FORMS[form]
    assert plan["unified"]["broker"] == broker


CODE = {
    'app = Celery("app", broker="redis://h/1")': "redis://h/1",
    'app = Celery("app")\napp.conf.broker_url = "redis://h/2"': "redis://h/2",
    'app = Celery("app")\napp.conf.update(broker_url="redis://h/3", timezone="UTC")': "redis://h/3",
    'app = Celery("app")\napp.conf["broker_url"] = "redis://h/4"': "redis://h/4",
    'app = Celery("app", broker="redis://h/1")\napp.conf.broker_url = "redis://h/2"': "DECIDE: ",
    'app = Celery("app", broker=make())': "DECIDE: ",
    'app = Celery("app")': "${CELERY_BROKER_URL:-amqp://guest:guest@localhost:5672//}",
}


@pytest.mark.parametrize("code", CODE)
def test_the_broker_that_an_app_is_given_in_code(tmp_path: Path, code: str) -> None:
    source = f"from celery import Celery\n\n{code}\n\n\n@app.task\ndef ping(x):\n    return x\n"
    settings = 'SECRET_KEY = "only for tests"\nINSTALLED_APPS = []\n'
    files = {"manage.py": MANAGE.format(settings="app.settings"), "app/__init__.py": "", "app/settings.py": settings}
    plan = drafted(make_project(tmp_path / "app", {**files, "app/celery.py": source}))
    broker = plan["legacy"]["celery"]["broker"]
    assert broker.startswith(CODE[code]) if CODE[code].startswith("DECIDE") else broker == CODE[code]

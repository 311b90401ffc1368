"""Inventory and plan draft of an unknown project."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.inventory.plan_check import check_complete
from migrator.inventory.scan import scan
from migrator.plan.loader import load_plan
from migrator.plan.processes import Role
from migrator.wire.message import System

MIGRATOR = Path(sys.executable).with_name("migrator")
FILES = {
    "src/manage.py": 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n',
    "src/shop/__init__.py": "",
    "src/shop/jobs.py": (
        "import dramatiq\n\n\n@dramatiq.actor\ndef send_mail_task(to, subject):\n    pass\n\n\n"
        "@dramatiq.actor(actor_name='count')\ndef count_stock(*, full=False):\n    pass\n"
    ),
    "src/shop/celery_jobs.py": (
        "from celery import Celery\napp = Celery('shop')\n\n\n@app.task\ndef send_mail_task(to):\n    pass\n\n\n"
        "app.conf.beat_schedule = {'mail': {'task': 'shop.celery_jobs.send_mail_task', 'schedule': 60}}\n"
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        file = tmp_path / "repo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "repo"


def migrator(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MIGRATOR, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_inspect_lists_both_systems_without_a_plan(project: Path) -> None:
    result = migrator(project, "inspect", "--format", "json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "migrator/1"
    assert {(task["system"], task["name"]) for task in document["tasks"]} == {
        ("dramatiq", "send_mail_task"),
        ("dramatiq", "count"),
        ("celery", "shop.celery_jobs.send_mail_task"),
    }
    assert [entry["name"] for entry in document["schedule"]] == ["shop.celery_jobs:mail"]
    assert document["next_steps"] == ["migrator init"]


def test_the_draft_is_a_complete_plan(project: Path) -> None:
    unified = "def send_mail(to, subject): ...\n\n\ndef count_stock(): ...\n"
    (project / "src/shop/unified.py").write_text(unified)
    result = migrator(project, "init", "--into", "shop.unified")
    assert result.returncode == 0, result.stderr
    assert "DECIDE" in (project / "migration.toml").read_text()
    plan = load_plan(project / "migration.toml", draft=True)
    assert plan.project.settings == "shop.settings"
    assert plan.project.root == "src"
    assert check_complete(plan, scan(plan.source_root)).findings == ()
    mail = plan.task("shop.unified.send_mail")
    assert mail is not None and {m.system for m in mail.replaces} == set(System)
    assert mail.parameters[:2] == ("to", "subject")


def test_a_unified_module_that_is_written_says_what_its_tasks_take(project: Path) -> None:
    (project / "src/shop/unified.py").write_text("""\
from celery import shared_task


@shared_task(name="shop.mail")
def send_mail(to, about): ...
""")
    result = migrator(project, "init", "--into", "shop.unified")
    assert result.returncode == 0, result.stderr
    plan = load_plan(project / "migration.toml", draft=True)
    mail = next(task for task in plan.tasks if task.path == "shop.unified.send_mail")
    assert (mail.name, mail.parameters) == ("shop.mail", ("to", "about"))
    assert 'to = "DECIDE: about; or wrap or drop it"' in (project / "migration.toml").read_text()
    # What the module lacks stays where it is.
    assert "shop.jobs.count_stock" in {task.path for task in plan.tasks}
    assert result.stdout.count("3 legacy tasks") == 1


def test_in_place_maps_each_task_to_itself(project: Path) -> None:
    more = project / "src/shop/more.py"
    more.write_text("import dramatiq\n\ndef work(*args): ...\n\nwork_actor = dramatiq.actor(work)\n")
    result = migrator(project, "init")
    assert result.returncode == 0, result.stderr
    plan = load_plan(project / "migration.toml", draft=True)
    assert {task.path: [m.path for m in task.replaces] for task in plan.tasks} == {
        path: [path]
        for path in (
            "shop.jobs.send_mail_task",
            "shop.jobs.count_stock",
            "shop.celery_jobs.send_mail_task",
            "shop.more.work_actor",
        )
    }
    assert plan.file.read_text().count('parameters = ["*args"]\n') == 2
    assert not check_complete(plan, scan(plan.source_root)).findings


def test_an_existing_plan_is_not_overwritten(project: Path) -> None:
    (project / "migration.toml").write_text("mine")
    result = migrator(project, "init")
    assert result.returncode == 4
    assert "there is a plan already" in result.stderr
    assert (project / "migration.toml").read_text() == "mine"
    assert migrator(project, "init", "--force").returncode == 0


def test_a_folder_without_tasks_is_an_error(tmp_path: Path) -> None:
    result = migrator(tmp_path, "init")
    assert result.returncode == 2
    assert "no Dramatiq actor and no Celery task" in result.stderr
    assert not (tmp_path / "migration.toml").exists()


SUPERVISOR = """\
[group:shop]
programs=worker,beat

[program:worker]
command=/venv/bin/celery -A shop.celery_jobs worker -n w@%%h ; the worker
stopwaitsecs=90

[program:beat]
command=/venv/bin/celery -A shop.celery_jobs beat

;[program:old]
;command=/venv/bin/celery -A old beat

[program:many]
command=dramatiq shop.jobs -p 2 -t 3
numprocs=2
process_name=%(program_name)s_%(process_num)02d

[program:odd]
command=dramatiq shop.jobs
numprocs=4

[program:cache]
command=/usr/bin/memcached
"""
UNIT = """\
[Service]
Type=forking
ExecStart=-/venv/bin/celery multi start w1 \\
  -A shop.celery_jobs
TimeoutStopSec=2min
"""
PROCFILE = "web: cd src && gunicorn shop.wsgi --bind 0.0.0.0:$PORT\nworker: celery -A shop.celery_jobs worker\n"


def test_processes_are_drafted_as_supervisor_runs_them(project: Path) -> None:
    (project / "deploy").mkdir()
    (project / "deploy/shop.conf").write_text(SUPERVISOR)
    (project / "deploy/shop-worker.service").write_text(UNIT)
    (project / "deploy/broken.conf").write_text("[program:x]\n[program\ncommand")
    (project / "Procfile").write_text(PROCFILE)
    seen = json.loads(migrator(project, "inspect", "--format", "json").stdout)["processes"]
    assert {(each["by"], each["name"], each["role"]) for each in seen} == {
        ("supervisor", "shop:worker", "worker"),
        ("supervisor", "shop:beat", "scheduler"),
        ("supervisor", "many:many_00", "worker"),
        ("supervisor", "many:many_01", "worker"),
        ("supervisor", "odd:odd", "worker"),
        ("systemd", "shop-worker.service", "worker"),
        ("procfile", "web", "producer"),
        ("procfile", "worker", "worker"),
    }
    (unit,) = (each for each in seen if each["by"] == "systemd")
    assert unit["stop_timeout_s"] == "120"
    assert "Type=forking is not supported" in unit["doubt"]
    drafted = migrator(project, "init")
    assert "4 of 7 processes in deployment files are in the plan" in drafted.stdout
    assert (
        "not in the plan as it stands: deploy/shop.conf:19: odd:odd: several processes of one program" in drafted.stdout
    )
    assert "deploy/broken.conf" in drafted.stdout
    plan = load_plan(project / "migration.toml", draft=True)
    assert [(p.side.value, p.driver.value, p.program, p.stop_timeout_s) for p in plan.processes] == [
        ("legacy", "supervisor", "shop:worker", 90),
        ("legacy", "supervisor", "shop:beat", 10),
        ("legacy", "supervisor", "many:many_00", 10),
        ("legacy", "supervisor", "many:many_01", 10),
        ("unified", "supervisor", "shop:unified-worker", 90),
        ("unified", "supervisor", "shop:unified-scheduler", 10),
    ]
    assert plan.file.read_text().count("add it to the manager") == 2


def test_a_procfile_becomes_commands(project: Path) -> None:
    (project / "Procfile").write_text(PROCFILE)
    assert migrator(project, "init").returncode == 0
    plan = load_plan(project / "migration.toml", draft=True)
    web, worker, new_worker, beat, new_web = plan.processes
    assert (web.command[-1], web.directory, new_web.command) == ("0.0.0.0:${PORT:-5000}", "src", web.command)
    assert worker.command == ("celery", "-A", "shop.celery_jobs", "worker", "-n", "{node}")
    assert new_worker.command[:5] == beat.command[:5] == ("{python}", "-m", "celery", "-A", "shop.celery_jobs")
    assert beat.role is Role.SCHEDULER


def test_without_deployment_files_the_draft_names_what_is_missing(project: Path) -> None:
    assert migrator(project, "init").returncode == 0
    assert "No worker, scheduler or producer was found" in (project / "migration.toml").read_text()


CLOCKS = """
import dramatiq
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger
from dramatiq_crontab import cron
from periodiq import cron as periodic


@cron("0 3 * * Mon-Fri")
@dramatiq.actor
def workdays(): ...


@dramatiq.actor(periodic=periodic("15 4 * * 0"))
def sundays(): ...


@dramatiq.actor
def report(): ...


scheduler = BlockingScheduler()
scheduler.add_job(report.send, CronTrigger.from_crontab("0 12 * * 6"), id="lunch")
scheduler.add_job(report.send, "cron", hour=5, id="early")
scheduler.add_job(report.send, trigger=choose(), id="sometimes")


@scheduler.scheduled_job("interval", minutes=10)
def often():
    report.send()
"""


def test_jobs_of_other_schedulers_are_drafted_with_their_weekday_and_minute(project: Path) -> None:
    (project / "src/shop/clocks.py").write_text(CLOCKS)
    result = migrator(project, "init")
    assert result.returncode == 0, result.stderr
    plan = load_plan(project / "migration.toml", draft=True)
    drafted = {entry.replaces[0].partition(":")[2]: entry.every_s or entry.crontab for entry in plan.schedule}
    assert drafted == {
        "workdays": "0 3 * * mon-fri",
        "sundays": "15 4 * * sun",
        "lunch": "0 12 * * sun",
        "early": "0 5 * * *",
        "often": 600,
        "mail": 60,
    }
    assert [entry.name for entry in plan.retired_schedule] == ["shop.clocks:sometimes"]
    assert not any("SCHEDULE" in finding.code for finding in check_complete(plan, scan(plan.source_root)).findings)

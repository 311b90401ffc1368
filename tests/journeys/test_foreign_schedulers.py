"""Jobs of APScheduler and dramatiq-crontab: what is drafted of them, which go, which stay and are listed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_projects import MANAGE, Project, make_project

TASKS = """\
import dramatiq

try:
    from dramatiq_crontab import cron
except ImportError:

    def cron(*args, **kwargs):
        return lambda actor: actor


@dramatiq.actor(max_retries=2)
def rates(currency, days=1):
    return currency


@dramatiq.actor
def sweep():
    return 1


@cron("*/5 * * * *")
@dramatiq.actor
def poll():
    return 2
"""
COMMAND = """\
from functools import partial

from apscheduler.schedulers.blocking import BlockingScheduler
from django.core.management.base import BaseCommand

from money.tasks import rates, sweep


class Command(BaseCommand):
    def handle(self, *args, **options):
        scheduler = BlockingScheduler(timezone="UTC")
{jobs}
        scheduler.start()
"""
#: Actors alone, a scheduler in a management command, and no Celery.
BANK = {
    "manage.py": MANAGE.format(settings="bank.settings"),
    "bank/__init__.py": "",
    "bank/settings.py": """\
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django_dramatiq", "money"]
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {"url": "redis://127.0.0.1:6379/0"},
    "MIDDLEWARE": ["dramatiq.middleware.TimeLimit", "dramatiq.middleware.Retries"],
}
""",
    "money/__init__.py": "",
    "money/tasks.py": TASKS,
    "money/management/__init__.py": "",
    "money/management/commands/__init__.py": "",
    "Procfile": """\
web: gunicorn bank.wsgi
migrate: python manage.py migrate
worker: python manage.py rundramatiq -p 1 -t 2
clock: python manage.py runclock
""",
}
FILE = "money/management/commands/runclock.py"


def with_jobs(folder: Path, *jobs: str, **files: str) -> Project:
    """Write the bank, its command adding some jobs."""
    text = COMMAND.format(jobs="\n".join(f"        scheduler.add_job({job})" for job in jobs))
    return make_project(folder, {**BANK, FILE: text, **files})


def drafted(project: Project) -> dict[str, Any]:
    """Return what `init` drafts, and commit it."""
    done = project.migrator("init")
    assert done.returncode == 0, done.stdout + done.stderr
    project.commit()
    return tomllib.loads((project.folder / "migration.toml").read_text())


def settings_of(project: Project) -> dict[str, Any]:
    """Return what the settings module holds."""
    text = (project.folder / "bank/settings.py").read_text()
    names: dict[str, Any] = {}
    exec(compile(text, "settings.py", "exec"), names)
    return names


def test_a_job_moves_to_beat_with_its_arguments(tmp_path: Path) -> None:
    project = with_jobs(
        tmp_path,
        'rates.send, "cron", hour=6, args=["EUR"], id="euro"',
        'rates.send, "interval", minutes=90, kwargs={"currency": "USD", "days": 7}, id="dollar"',
        '"money.tasks:sweep.send", "cron", hour=4, id="sweep"',
    )
    plan = drafted(project)
    said = ("task", "crontab", "every_s", "kwargs")
    assert {entry["name"]: {key: entry[key] for key in said if key in entry} for entry in plan["schedule"]} == {
        "euro": {"task": "money.tasks.rates", "crontab": "0 6 * * *", "kwargs": {"currency": "EUR"}},
        "dollar": {"task": "money.tasks.rates", "every_s": 5400, "kwargs": {"currency": "USD", "days": 7}},
        "sweep": {"task": "money.tasks.sweep", "crontab": "0 4 * * *"},
        "poll": {"task": "money.tasks.poll", "crontab": "*/5 * * * *"},
    }
    done = project.migrator("rewrite-imports")
    assert "SCHEDULE-JOB" not in done.stdout
    assert "add_job" not in (project.folder / FILE).read_text()
    assert "@cron" not in (project.folder / "money/tasks.py").read_text()
    beat = settings_of(project)["CELERY_BEAT_SCHEDULE"]
    assert beat["euro"]["kwargs"] == {"currency": "EUR"}
    assert beat["dollar"]["kwargs"] == {"currency": "USD", "days": 7}
    project.commit()
    assert "would rewrite 0 places" in project.migrator("rewrite-imports", "--check").stdout


#: Jobs that do something else than send, in the ways in which people write them.
WRAPPED = {
    "a call around the method": 'logged(sweep.send), "interval", minutes=5, id="job"',
    "a partial": 'partial(rates.send, "USD"), "cron", hour=7, id="job"',
    "a lambda": 'lambda: rates.send("GBP"), "cron", hour=8, id="job"',
    "keywords": 'func=logged(rates.send), trigger="cron", hour=8, args=["EUR"], id="job"',
}


@pytest.mark.parametrize("how", WRAPPED)
def test_a_wrapped_method_is_no_entry_and_its_job_stays_listed(tmp_path: Path, how: str) -> None:
    project = with_jobs(tmp_path, WRAPPED[how])
    plan = drafted(project)
    assert [entry["name"] for entry in plan["schedule"]] == ["poll"]
    done = project.migrator("rewrite-imports")
    assert done.returncode == 1
    (finding,) = (line for line in done.stdout.splitlines() if "SCHEDULE-JOB" in line)
    assert f"{FILE}:12" in finding
    assert 'id="job"' in (project.folder / FILE).read_text()


def test_an_unrelated_send_is_no_job(tmp_path: Path) -> None:
    jobs = ('signal.send, "interval", minutes=5', 'partial(signal.send, 1), "interval", minutes=5')
    project = with_jobs(tmp_path, *jobs)
    assert [entry["name"] for entry in drafted(project)["schedule"]] == ["poll"]
    before = (project.folder / FILE).read_text()
    assert "SCHEDULE-JOB" not in project.migrator("rewrite-imports").stdout
    assert (project.folder / FILE).read_text() == before


def test_jobs_that_have_one_name_are_asked_for(tmp_path: Path) -> None:
    project = with_jobs(
        tmp_path, 'rates.send, "cron", hour=6, args=["EUR"]', 'rates.send, "cron", hour=7, args=["USD"]'
    )
    (left,) = drafted(project)["retired_schedule"]
    assert left["name"] == "money.management.commands.runclock:rates"
    assert left["reason"].startswith("DECIDE: lines 12, 13 are called so: ")
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text().replace("DECIDE: ", "sent by hand: "))
    project.commit()
    assert project.migrator("rewrite-imports").stdout.count("SCHEDULE-JOB") >= 1
    assert (project.folder / FILE).read_text().count("add_job") == 2


def test_a_job_whose_arguments_the_plan_lacks_stays(tmp_path: Path) -> None:
    project = with_jobs(tmp_path, 'rates.send, "cron", hour=6, args=["EUR"], id="euro"')
    drafted(project)
    plan = project.folder / "migration.toml"
    plan.write_text(plan.read_text().replace('kwargs = {currency = "EUR"}\n', ""))
    project.commit()
    done = project.migrator("rewrite-imports")
    assert "args=['EUR'], kwargs={} here, none in the plan: write them as kwargs of euro" in done.stdout
    assert 'id="euro"' in (project.folder / FILE).read_text()


def test_a_time_that_nothing_knows_is_asked_for(tmp_path: Path) -> None:
    tasks = TASKS.replace("*/5 * * * *", "0 25 * * *")
    project = make_project(tmp_path, {**BANK, "money/tasks.py": tasks})
    (entry,) = drafted(project)["schedule"]
    assert entry["crontab"].startswith("DECIDE: ")
    assert project.migrator("rewrite-imports").returncode == 2


#: What starts the scheduler, by what the Procfile says.
STARTED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "command": ("python manage.py runclock", {}),
    "command that calls a module": (
        "python -u manage.py jobs",
        {
            "money/management/commands/jobs.py": "from django.core.management.base import BaseCommand\n\n\n"
            "class Command(BaseCommand):\n    def handle(self, *args, **options):\n"
            "        from money import clock\n\n        clock.start()\n"
        },
    ),
    "script": ("python money/clock.py", {}),
    "module": ("python -m money.clock", {}),
}
CLOCK = """\
from apscheduler.schedulers.blocking import BlockingScheduler

from money.tasks import sweep

scheduler = BlockingScheduler()


def start():
    scheduler.add_job(sweep.send, "cron", hour=4, id="sweep")
    scheduler.start()
"""


@pytest.mark.parametrize("how", STARTED)
def test_what_starts_the_scheduler_is_drafted_and_a_beat_for_it(tmp_path: Path, how: str) -> None:
    line, more = STARTED[how]
    files = {"money/clock.py": CLOCK} if "runclock" not in line else {}
    text = COMMAND.format(jobs='        scheduler.add_job(sweep.send, "cron", hour=4, id="sweep")')
    files |= {FILE: text} if "runclock" in line else {}
    procfile = BANK["Procfile"].replace("python manage.py runclock", line)
    project = make_project(tmp_path, {**BANK, **files, **more, "Procfile": procfile})
    found = {process["name"]: process for process in drafted(project)["process"]}
    assert found["legacy-clock"]["role"] == "scheduler"
    assert found["legacy-clock"]["command"] == line.split()
    assert found["unified-scheduler"]["command"][5] == "beat"
    assert "legacy-migrate" not in found
    assert "unified-clock" not in found


def test_a_scheduler_with_other_jobs_goes_on_from_the_new_source(tmp_path: Path) -> None:
    jobs = ('sweep.send, "cron", hour=4, id="sweep"', 'clean_up, "interval", minutes=5')
    found = {process["name"]: process["role"] for process in drafted(with_jobs(tmp_path, *jobs))["process"]}
    assert found["legacy-clock"] == found["unified-clock"] == "producer"
    assert found["unified-scheduler"] == "scheduler"

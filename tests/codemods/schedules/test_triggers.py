"""Triggers of other schedulers: the right weekday, and the minute that Celery would take sixty times."""

from __future__ import annotations

from pathlib import Path

import pytest
from celery.schedules import crontab
from corpus_project import make_project

from codemods.report import Mode
from codemods.runner import rewrite
from codemods.schedules.schedule_text import crontab_call
from codemods.schedules.triggers import cron, from_crontab, interval, named_weekdays


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"hour": 5}, 'crontab = "0 5 * * *"'),
        ({"minute": "*/10"}, 'crontab = "*/10 * * * *"'),
        ({"day_of_week": 6, "hour": 12}, 'crontab = "0 12 * * sun"'),
        ({"day_of_week": "mon-fri", "hour": 9, "minute": 30}, 'crontab = "30 9 * * mon-fri"'),
        ({"day": 1}, 'crontab = "0 0 1 * *"'),
        ({"month": 6}, 'crontab = "0 0 1 6 *"'),
        ({"day_of_week": "0"}, 'crontab = "0 0 * * mon"'),
        ({"second": 30}, ""),
        ({"week": 3}, ""),
        ({"day": "last"}, ""),
        ({"hour": None}, ""),
        ({}, ""),
    ],
)
def test_cron(given: dict[str, object], expected: str) -> None:
    assert cron(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"minutes": 5}, "every_s = 300"), ({"hours": 1, "seconds": 30}, "every_s = 3630"), ({}, ""), ({"x": 1}, "")],
)
def test_interval(given: dict[str, object], expected: str) -> None:
    assert interval(given) == expected


def test_from_crontab_counts_from_monday() -> None:
    assert from_crontab("0 12 * * 6") == 'crontab = "0 12 * * sun"'
    assert from_crontab("0 12 * * 1,3-5") == 'crontab = "0 12 * * tue,thu-sat"'
    assert from_crontab("nonsense") == ""
    assert named_weekdays("8") == ""


@pytest.mark.parametrize("fields", ["0 12 * * sun", "*/5 * * * *", "0 0 1 6 *", "15,45 9-17 * * mon-fri"])
def test_what_is_written_means_the_same_to_celery(fields: str) -> None:
    written = eval(crontab_call(fields.split()), {"crontab": crontab})
    minute, hour, day, month, weekday = fields.split()
    assert written == crontab(minute=minute, hour=hour, day_of_month=day, month_of_year=month, day_of_week=weekday)


def test_a_listed_job_comes_with_its_schedule(tmp_path: Path) -> None:
    source = (
        "from apscheduler.triggers.cron import CronTrigger\n"
        "from legacy.actors import add_actor\n"
        "scheduler.add_job(add_actor.send, CronTrigger.from_crontab('0 12 * * 6'))\n"
        "scheduler.add_job(add_actor.send, trigger='cron', hour=5)\n"
        "scheduler.add_job(add_actor.send, CronTrigger(hour=HOUR))\n"
    )
    report = rewrite(make_project(tmp_path, {"src/app.py": source}), mode=Mode.CHECK)
    found = [finding.what.partition(": ")[2] for finding in report.findings if finding.code == "SCHEDULE-JOB"]
    assert found == ['crontab = "0 12 * * sun"', 'crontab = "0 5 * * *"', ""]

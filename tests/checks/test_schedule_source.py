"""Entries outside the legacy modules: read from the source before the rewrite, in every form, never guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from shop_project import copy_shop

from checks.kinds.schedule import compare, untraceable
from checks.protocol import KindContext
from checks.schedule_source import read_entry
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Outcome

SOURCE = """
from datetime import timedelta
from apscheduler.triggers.cron import CronTrigger
from celery.schedules import crontab, schedule
from dramatiq_crontab import cron as at
from periodiq import cron
from jobs.old_celery import restock
from jobs import old_actors

HOUR = 60 * 60
app.conf.beat_schedule = {
    "crontab": {"task": "t", "schedule": crontab(hour=3, minute="*/30", day_of_week={1, 5}), "kwargs": {"days": 3}},
    "number": {"task": "t", "schedule": HOUR * 2, "args": ["a"]},
    "timedelta": {"task": "t", "schedule": timedelta(minutes=5)},
    "schedule": {"task": "t", "schedule": schedule(run_every=timedelta(hours=1))},
    "computed": {"task": "t", "schedule": crontab(hour=settings.HOUR)},
    "no entry": {"other": 1},
}
app.conf.beat_schedule["item"] = {"task": "t", "schedule": crontab(0, 6, 1)}
sender.add_periodic_task(30.0, restock.s("known", amount=2), name="periodic")

@dramatiq.actor(periodic=cron("0 12 * * 6"))
def by_periodiq(): pass

@at("*/5 * * * *")
@dramatiq.actor
def by_crontab(): pass

scheduler.add_job(old_actors.follow_up.send, CronTrigger.from_crontab("0 12 * * 6"), id="from-crontab", args=["x"])
scheduler.add_job(old_actors.follow_up.send, CronTrigger(hour=5, timezone="UTC"), id="trigger")
scheduler.add_job(old_actors.follow_up.send, "cron", day_of_week="0-4", hour=7, minute=15, id="words")
lisbon = BackgroundScheduler(timezone=pytz.timezone("Europe/Lisbon"))
lisbon.add_job(old_actors.follow_up.send, "cron", hour=7, id="of the scheduler")
lisbon.add_job(old_actors.follow_up.send, CronTrigger(hour=7, timezone=ZoneInfo("Asia/Tokyo")), id="of the trigger")
lisbon.add_job(old_actors.follow_up.send, CronTrigger(hour=7, timezone=settings.ZONE), id="computed zone")
scheduler.add_job(old_actors.follow_up.send, "interval", minutes=10)
"""
TIMES = {
    "crontab": {"crontab": "*/30 3 * * 1,5", "task": "t", "kwargs": {"days": 3}},
    "number": {"every_s": 7200.0, "args": ["a"]},
    "timedelta": {"every_s": 300.0},
    "schedule": {"every_s": 3600.0},
    "item": {"crontab": "0 6 * * 1"},
    "periodic": {"every_s": 30.0, "task": "jobs.old_celery.restock", "args": ["known"], "kwargs": {"amount": 2}},
    "by_periodiq": {"crontab": "0 12 * * 6", "task": "by_periodiq", "system": "dramatiq"},
    "by_crontab": {"crontab": "*/5 * * * *", "system": "dramatiq"},
    # APScheduler's 6 is Sunday, and an hour alone is its first minute.
    "from-crontab": {"crontab": "0 12 * * sun", "args": ["x"], "task": "follow_up"},
    "trigger": {"crontab": "0 5 * * *", "timezone": "UTC"},
    "of the scheduler": {"crontab": "0 7 * * *", "timezone": "Europe/Lisbon"},
    "of the trigger": {"crontab": "0 7 * * *", "timezone": "Asia/Tokyo"},
    "words": {"crontab": "15 7 * * mon-fri"},
    "follow_up": {"every_s": 600.0},
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    plan = copy_shop(tmp_path)
    (plan.source_root / "shop" / "schedule.py").write_text(SOURCE)
    return plan


@pytest.mark.parametrize("name", TIMES)
def test_each_form_is_read(plan: Plan, name: str) -> None:
    found = read_entry(plan, f"shop.schedule:{name}")
    assert found is not None
    assert found | TIMES[name] == found


def test_a_computed_value_is_not_guessed(plan: Plan) -> None:
    assert read_entry(plan, "shop.schedule:computed") == {"broken": "it is computed: settings.HOUR"}
    assert read_entry(plan, "shop.schedule:computed zone") == {"broken": "it is computed: settings.ZONE"}
    assert read_entry(plan, "shop.schedule:no entry") is None
    assert read_entry(plan, "shop.nowhere:crontab") is None


def test_the_source_before_the_rewrite_is_read(plan: Plan) -> None:
    file = plan.source_root / "shop" / "schedule.py"
    original = plan.state_folder / "undo" / "first" / "src" / "shop" / "schedule.py"
    original.parent.mkdir(parents=True)
    original.write_text(SOURCE)
    file.write_text("# rewritten\n")
    record = plan.state_folder / "rewrite.json"
    record.write_text(json.dumps({"version": 1, "runs": [{"id": "first", "undone_at": ""}]}))
    assert read_entry(plan, "shop.schedule:timedelta")
    record.write_text(json.dumps({"version": 1, "runs": [{"id": "first", "undone_at": "2026-01-01"}]}))
    assert read_entry(plan, "shop.schedule:timedelta") is None
    files = [{"path": "src/shop/schedule.py", "after": hashlib.sha256(b"# rewritten\n").hexdigest()}]
    record.write_text(json.dumps({"version": 1, "runs": [{"id": "first", "undone_at": "2026-01-01", "files": files}]}))
    assert read_entry(plan, "shop.schedule:timedelta"), "git has brought the rewritten file back"


def described(plan: Plan, replaces: str, timezone: str, legacy: str = "", **entry: Any) -> KindContext:
    lines = [f"{name} = {json.dumps(value)}" for name, value in entry.items()]
    table = f'\n[[schedule]]\nname = "new"\ntask = "jobs.follow_up"\nreplaces = ["{replaces}"]\n'
    plan.file.write_text(plan.file.read_text() + table + "\n".join(lines) + "\nkwargs = { name = 'x' }\n")
    sides: dict[str, Any] = {"unified": {"tasks": {}, "timezone": timezone}}
    sides |= {"celery": {"timezone": legacy or timezone}, "dramatiq": {"local_timezone": legacy or timezone}}
    return KindContext(plan=load_plan(plan.file), cases=(), described=sides, bare={})


@pytest.mark.parametrize(
    ("crontab", "outcome"), [("0 12 * * sun", Outcome.MATCHED), ("0 12 * * 6", Outcome.MISMATCHED)]
)
def test_an_entry_elsewhere_is_compared_across_daylight_saving_changes(
    plan: Plan, crontab: str, outcome: Outcome
) -> None:
    context = described(plan, "shop.schedule:from-crontab", "Europe/Berlin", crontab=crontab)
    (comparison,) = compare(context)
    assert comparison.outcome is outcome, comparison.mismatches
    assert {m.path for m in comparison.mismatches} <= {"schedule.shop.schedule/from-crontab.times"}


@pytest.mark.parametrize(
    ("entry", "zones", "crontab", "outcome"),
    [
        ("from-crontab", ("Europe/Berlin", "UTC"), "0 12 * * sun", Outcome.MISMATCHED),
        # Equal for half of the year only.
        ("from-crontab", ("Europe/London", "UTC"), "0 12 * * sun", Outcome.MISMATCHED),
        ("from-crontab", ("Europe/Berlin", "Europe/Paris"), "0 12 * * sun", Outcome.MATCHED),
        ("trigger", ("Europe/Berlin", "UTC"), "0 5 * * *", Outcome.MATCHED),
        ("of the trigger", ("Europe/Berlin", "Asia/Tokyo"), "0 7 * * *", Outcome.MATCHED),
        ("of the scheduler", ("Europe/Berlin", "Europe/Berlin"), "0 7 * * *", Outcome.MISMATCHED),
        ("from-crontab", ("Europe/Berlin", ""), "0 12 * * sun", Outcome.NOT_COMPARED),
        ("item", ("<LocalTimezone: UTC+01>", "UTC"), "0 6 * * 1", Outcome.NOT_COMPARED),
    ],
)
def test_each_side_counts_in_the_zone_of_its_scheduler(
    plan: Plan, entry: str, zones: tuple[str, str], crontab: str, outcome: Outcome
) -> None:
    legacy, unified = zones
    (comparison,) = compare(described(plan, f"shop.schedule:{entry}", unified, legacy, crontab=crontab))
    times = [m for m in comparison.mismatches if m.path.endswith(("times", "schedule"))]
    assert (times[0].outcome if times else Outcome.MATCHED) is outcome, comparison.mismatches


def test_an_entry_that_cannot_be_compared_is_reported_and_never_equal(plan: Plan) -> None:
    context = described(plan, "shop.schedule:computed", "UTC", crontab="0 1 * * *")
    (comparison,) = compare(context)
    assert comparison.outcome is Outcome.NOT_COMPARED
    (plan.source_root / "shop" / "schedule.py").unlink()
    assert list(compare(context)) == []
    assert [finding.where for finding in untraceable(context)] == ["shop.schedule:computed"]

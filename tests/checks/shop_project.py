"""A copy of a minimal project with both legacy systems, with cases written for one test."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import tomlkit

from checks.compare.report import ParityReport
from checks.runner import ParityOptions, parity_check
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

SHOP = Path(__file__).parent / "data" / "shop"
RESTOCK, RESTOCK_ACTOR, MISBEHAVE = "jobs.old_celery.restock", "restock_actor", "jobs.old_celery.misbehave"
STOCK = {"contains": "/stock/", "json": {"stock": 5}}
ROWS = [
    {"model": "shop.Item", "fields": {"name": "known", "amount": 1, "changed_at": "@clock-1d"}},
    {"model": "shop.Item", "fields": {"name": "old", "amount": 1, "changed_at": "@clock-900d"}},
]


def copy_shop(folder: Path) -> Plan:
    """Copy the project without cases and return its plan."""
    project = folder / "shop"
    shutil.copytree(SHOP, project, ignore=shutil.ignore_patterns("__pycache__", ".migrator"))
    (project / "cases").mkdir(exist_ok=True)
    return load_plan(project / "migration.toml")


def be_patient(plan: Plan) -> None:
    """Raise the timeout of calls for busy machines, in tests in which none hangs."""
    file = plan.folder / "parity.toml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("case_timeout_s = 6", "case_timeout_s = 60"), encoding="utf-8"
    )


def add_case(plan: Plan, name: str, *calls: dict[str, object], **more: object) -> Path:
    """Write one case and return its file."""
    document = {"title": f"case {name}", "kind": "usual", **more, "call": list(calls)}
    file = plan.folder / "cases" / name / "case.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tomlkit.dumps(document), encoding="utf-8")
    return file


def restock_case(plan: Plan, name: str, item: str, **more: object) -> None:
    """Write a case in which the old Celery task restocks an item."""
    call = {"system": "celery", "task": RESTOCK, "args": [item], "kwargs": {"amount": 7}}
    add_case(plan, name, call, **{"rows": ROWS, "http": [STOCK], **more})


def misbehave_case(plan: Plan, how: str) -> None:
    """Write a case in which both tasks misbehave."""
    add_case(plan, f"misbehave-{how}", {"system": "celery", "task": MISBEHAVE, "args": [how]})


def complete(plan: Plan) -> None:
    """Write a case for every mapped task that has none in these tests."""
    misbehave_case(plan, "fine")
    for system, task in (("celery", "jobs.old_celery.follow_up"), ("dramatiq", "follow_up")):
        add_case(plan, f"follow-{system}", {"system": system, "task": task, "args": ["same"]})
    call = {"system": "dramatiq", "task": RESTOCK_ACTOR, "args": ["same"]}
    add_case(plan, "actor", call, http=[STOCK], rows=ROWS)


def check(plan: Plan, **options: object) -> ParityReport:
    """Run the parity check."""
    return parity_check(plan, environ=os.environ, options=ParityOptions(**options))  # type: ignore[arg-type]

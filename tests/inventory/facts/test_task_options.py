"""What a declaration says of its task: unpacked options and an inherited ``Meta`` count, what can't be read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.inventory.callables import loading
from migrator.inventory.facts.task_options import TaskOptions, max_retries_of, queue_of, task_options, with_route
from migrator.inventory.scan import scan
from migrator.inventory.static_values import StaticValues

HELPERS = "def defaults(**extra):\n    return {'max_retries': 8, **extra}\n"
CLASSES = """\
from dramatiq import GenericActor
class Base(GenericActor):
    class Meta:
        abstract = True
        max_retries = 4
class Other(Base): ...
class Own(Base):
    class Meta:
        queue_name = "own"
"""


def retries(folder: Path, jobs: str, name: str) -> int | None:
    """Return the drafted retries of an actor where the middleware retries twenty times."""
    (folder / "helpers.py").write_text(HELPERS)
    (folder / "jobs.py").write_text(jobs)
    task = next(task for task in scan(folder).tasks if task.name == name)
    return max_retries_of(task, task_options(task, StaticValues(loading(folder, {}), ())), 20)


@pytest.mark.parametrize(
    ("decorator", "found"),
    [
        ("@dramatiq.actor", 20),
        ("@dramatiq.actor(**defaults())", 8),
        ("@dramatiq.actor(**defaults(max_retries=3))", 3),
        ("@dramatiq.actor(**unknown())", None),
        ("@dramatiq.actor(**unknown(), max_retries=2)", 2),
    ],
)
def test_options_of_a_helper(tmp_path: Path, decorator: str, found: int | None) -> None:
    jobs = f"import dramatiq\nfrom helpers import defaults\n{decorator}\ndef work(x): ...\n"
    assert retries(tmp_path, jobs, "work") == found


def test_the_nearest_meta_counts_alone(tmp_path: Path) -> None:
    assert retries(tmp_path, CLASSES, "Other") == 4
    assert retries(tmp_path, CLASSES, "Own") == 20


@pytest.mark.parametrize(
    ("own", "routes", "found"),
    [
        ({}, {"jobs.work": "slow"}, "slow"),
        ({}, {"jobs.*": "slow", "jobs.work": {"queue": "own"}}, "own"),
        ({}, {"jobs.*": {"queue": "slow"}, "*": "last"}, "slow"),
        ({"queue": "mine"}, {"jobs.work": "slow"}, "mine"),
        ({}, {"jobs.other": "slow"}, ""),
        ({}, {"jobs.work": {"priority": 3}}, ""),
        ({}, ["router"], ""),
        ({}, None, ""),
    ],
)
def test_a_route_gives_the_queue_that_the_task_does_not(
    tmp_path: Path, own: dict[str, str], routes: object, found: str
) -> None:
    (tmp_path / "jobs.py").write_text("from celery import shared_task\n@shared_task\ndef work(x): ...\n")
    task = scan(tmp_path).tasks[0]
    assert queue_of(task, with_route(task, TaskOptions(values=own), routes)) == found

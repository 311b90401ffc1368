"""What a declaration says of its task: unpacked options and an inherited ``Meta`` count, what can't be read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrator.inventory.callables import loading
from migrator.inventory.facts.static_values import StaticValues
from migrator.inventory.facts.task_options import max_retries_of, task_options
from migrator.inventory.scan import scan

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
    return max_retries_of(task, task_options(task, StaticValues(loading(folder, {}), "")), 20)


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

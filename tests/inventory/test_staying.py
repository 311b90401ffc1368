from __future__ import annotations

from pathlib import Path

import pytest

from migrator.inventory.scan import scan
from migrator.inventory.staying import out_of_scope

FILES = {
    "orders/__init__.py": "",
    "orders/tasks.py": "import dramatiq\n\n\n@dramatiq.actor\ndef ping():\n    pass\n",
    "reports/__init__.py": "",
    "reports/tasks.py": """\
import dramatiq
from celery import shared_task


@dramatiq.actor(actor_name="reports.ping")
def ping():
    pass


@shared_task
def nightly():
    pass
""",
    "settings.py": """\
CELERY_BEAT_SCHEDULE = {
    "a": {"task": "reports.tasks.nightly"},
    "b": {"task": "ping"},
    "c": {"task": "celery.backend_cleanup"},
    "d": {"task": computed},
}
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("scope", "names", "entries"),
    [
        ((), [], []),
        (("orders.*",), ["celery:reports.tasks.nightly", "dramatiq:reports.ping"], ["a", "c", "d"]),
        # The name of another task is no guess: it is the whole name of one of the scope.
        (("reports.tasks",), ["dramatiq:ping"], ["b", "c", "d"]),
        (("*",), [], ["c", "d"]),
        (("orders",), ["celery:reports.tasks.nightly", "dramatiq:ping", "dramatiq:reports.ping"], ["a", "b", "c", "d"]),
    ],
)
def test_what_a_scope_leaves_out(root: Path, scope: tuple[str, ...], names: list[str], entries: list[str]) -> None:
    left = out_of_scope(scan(root), scope)
    assert list(left.names) == names
    assert [entry.name.partition(":")[2] for entry in left.schedule] == entries


def test_unified_tasks_do_not_stay(root: Path) -> None:
    left = out_of_scope(scan(root), ("orders.*",), unified=frozenset({"reports.tasks.nightly"}))
    assert left.names == ("dramatiq:reports.ping",)

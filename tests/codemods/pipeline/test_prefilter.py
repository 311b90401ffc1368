"""Which files are parsed: every one that has to do with the plan, few others."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import JOBS, PLAN, make_project

from codemods.pipeline.prefilter import prefilter
from codemods.report import Mode
from codemods.runner import rewrite

WORTH = prefilter(["add_actor", "legacy.actors", "dramatiq"], ["actors", "tasks"])


@pytest.mark.parametrize(
    "source",
    [
        "the actors of the play",
        "self.tasks.append(task)",
        "import re_add_actors",
        "from library import player  # of actors",
        "add_actor_now()",
        "import legacy\nprint('actors')",
        "dramatique",
    ],
)
def test_other_files_are_not_parsed(source: str) -> None:
    assert not WORTH(source.encode())


@pytest.mark.parametrize(
    "source",
    [
        "add_actor.send()",
        "x = 'legacy.actors'",
        "from legacy import actors",
        "from legacy import helpers, actors as a",
        "from legacy import (\n    helpers,\n    actors,\n)",
        "from . import tasks",
        "from .tasks import *",
        "from ..shop.tasks import app",
        "import_module('.tasks', __package__)",
    ],
)
def test_every_way_to_name_a_module_or_task_counts(source: str) -> None:
    assert WORTH(source.encode())


def test_a_module_called_tasks_that_goes_is_missed_by_its_importers(tmp_path: Path) -> None:
    plan = PLAN.replace("legacy.jobs", "legacy.tasks").replace("legacy/jobs.py", "legacy/tasks.py")
    files = {
        "src/legacy/tasks.py": JOBS + "def helper(): ...\n",
        "src/legacy/jobs.py": "",
        "src/app.py": "from legacy import tasks\n\ntasks.helper()\n",
        "src/other.py": "from elsewhere import tasks\n\ntasks.helper()\n",
    }
    report = rewrite(make_project(tmp_path, files, plan=plan), mode=Mode.CHECK)
    assert [(finding.code, finding.where) for finding in report.findings] == [("MODULE-DYNAMIC", "src/app.py:3")]

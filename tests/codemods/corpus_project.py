"""The project of the corpus: two legacy modules, a plan, and whatever files a case adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

PLAN = """
[migration]
name = "corpus"

[project]
root = "src"
settings = "conf.settings"
retire = ["src/legacy/actors.py", "src/legacy/jobs.py"]

[legacy.dramatiq]
broker = "redis://localhost/0"
queues = ["default"]
modules = ["legacy.actors"]

[legacy.celery]
broker = "redis://localhost/0"
queues = ["celery"]
modules = ["legacy.jobs"]

[unified]
broker = "redis://localhost/0"
queues = ["unified"]

[[task]]
name = "u.add"
path = "work.unified.add"
parameters = ["x", "y"]
  [[task.replaces]]
  system = "dramatiq"
  name = "add_actor"
  path = "legacy.actors.add_actor"
  parameters = ["x", "y"]
  primary = true
  [[task.replaces]]
  system = "celery"
  name = "legacy.jobs.add_task"
  parameters = ["x", "y"]

[[task]]
name = "u.quote"
path = "work.unified.quote"
parameters = ["symbols", "limit"]
  [[task.replaces]]
  system = "dramatiq"
  name = "quote_actor"
  path = "legacy.actors.quote_actor"
  parameters = ["symbol", "note"]
  arguments = [{ wrap = "symbol", to = "symbols" }, { drop = "note", reason = "unused" }]
  primary = true
  [[task.replaces]]
  system = "celery"
  name = "legacy.jobs.quote_task"
  parameters = ["symbol", "limit"]
  arguments = [{ wrap = "symbol", to = "symbols" }]

[[task]]
name = "u.news"
path = "work.unified.news"
parameters = ["query", "limit"]
  [[task.replaces]]
  system = "dramatiq"
  name = "news_actor"
  path = "legacy.actors.news_actor"
  parameters = ["query", "count"]
  arguments = [{ rename = "count", to = "limit" }]

[[task]]
name = "u.sweep"
path = "work.unified.sweep"
parameters = ["days", "mode"]
  [[task.replaces]]
  system = "celery"
  name = "legacy.jobs.sweep_task"
  parameters = ["days"]
  arguments = [{ constant = "mode", value = "soft" }]

[[retired]]
system = "dramatiq"
name = "old_actor"
path = "legacy.actors.old_actor"
reason = "nobody reads it"

[[retired]]
system = "celery"
name = "legacy.jobs.old_task"
reason = "nobody reads it"

[[schedule]]
name = "sweep-nightly"
task = "u.sweep"
crontab = "0 3 * * 0"
kwargs = { days = 30 }
replaces = ["conf.beat:sweep", "conf.jobs:nightly"]

[[retired_schedule]]
name = "conf.beat:forgotten"
reason = "names nothing"
"""

ACTORS = """
import dramatiq

LIMIT = 5


@dramatiq.actor
def add_actor(x, y): ...
@dramatiq.actor
def quote_actor(symbol, note=None): ...
@dramatiq.actor
def news_actor(query, count=5): ...
@dramatiq.actor
def old_actor(): ...


def helper(): ...
"""

JOBS = """
from celery import Celery

app = Celery("legacy")


@app.task
def add_task(x, y): ...
@app.task
def quote_task(symbol, limit=5): ...
@app.task
def sweep_task(days): ...
@app.task
def old_task(): ...
"""


#: What the rewrite completes is there already: what a case shows stands in its own files.
SETTINGS = """\
from celery.schedules import crontab

CELERY_TASK_DEFAULT_QUEUE = "unified"
CELERY_BEAT_SCHEDULE = {
    "sweep-nightly": {
        "task": "u.sweep",
        "schedule": crontab(minute=0, hour=3, day_of_week=0),
        "kwargs": {"days": 30},
    },
}
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One shape: files before, files after, and the reason codes that are listed."""

    name: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    codes: tuple[str, ...]


def make_project(folder: Path, files: Mapping[str, str], *, plan: str = PLAN) -> Plan:
    """Write the corpus project and the files of a case, and load its plan."""
    everything = {
        "migration.toml": plan,
        "src/legacy/__init__.py": "",
        "src/legacy/actors.py": ACTORS,
        "src/legacy/jobs.py": JOBS,
        "src/work/__init__.py": "",
        "src/conf/settings.py": SETTINGS,
        **files,
    }
    for name, text in everything.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8"))
    return load_plan(folder / "migration.toml")


def read_cases(file: Path) -> list[Case]:
    """Read the cases of a data file.

    ``=== name`` opens a case, ``--- path`` a file before, ``+++ path`` the same file after (left out if it stays as it
    is), ``!!! CODE`` a listed reason. A path is relative to ``src``; ``--- -`` stands for ``app.py``.
    """
    cases: list[Case] = []
    name, part, target = "", {}, ""  # type: ignore[var-annotated]
    parts: dict[str, dict[str, str]] = {}
    codes: list[str] = []

    def close() -> None:
        if name:
            before = parts.get("---", {})
            cases.append(Case(name, before, {**before, **parts.get("+++", {})}, tuple(codes)))

    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.startswith("=== "):
            close()
            name, parts, codes, part = line[4:].strip(), {}, [], {}
        elif line.startswith(("--- ", "+++ ")):
            target = "src/" + ("app.py" if line[4:].strip() == "-" else line[4:].strip())
            part = parts.setdefault(line[:3], {})
            part[target] = ""
        elif line.startswith("!!! "):
            codes.append(line[4:].strip())
        elif part:
            part[target] += line
    close()
    return cases

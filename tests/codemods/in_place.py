"""Projects whose actors the plan maps to themselves: any Dramatiq project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan

HEAD = """
[migration]
name = "in-place"
[project]
root = "."
settings = "settings"
[legacy.dramatiq]
broker = "redis://localhost/0"
queues = ["default"]
modules = ["jobs"]
[unified]
broker = "redis://localhost/0"
queues = ["unified", "slow"]
"""

BROKER = """
import dramatiq
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url="redis://localhost/0"))
"""


#: The plan of the corpus for actors that stay where they are.
CORPUS = (
    HEAD
    + """
[[task]]
name = "jobs.work"
path = "jobs.work"
parameters = ["x"]
  [[task.replaces]]
  system = "dramatiq"
  name = "work"
  path = "jobs.work"
  parameters = ["x"]

[[task]]
name = "jobs.nightly"
path = "jobs.nightly"
parameters = []
  [[task.replaces]]
  system = "dramatiq"
  name = "nightly"
  path = "jobs.nightly"
  parameters = []
"""
)
CORPUS_SCHEDULE = """
[[schedule]]
name = "nightly"
task = "jobs.nightly"
crontab = "30 4 * * sun"
replaces = ["jobs:nightly"]
"""


def make_in_place(
    folder: Path, actors: Mapping[str, list[str]], files: Mapping[str, str], *, module: str = "jobs"
) -> Plan:
    """Write a project with its actors in one module, and its plan: each actor is its own successor."""
    text = HEAD.replace('["jobs"]', f'["{module}"]')
    for name, parameters in actors.items():
        listed = ", ".join(f'"{parameter}"' for parameter in parameters)
        text += f'\n[[task]]\nname = "{module}.{name}"\npath = "{module}.{name}"\nparameters = [{listed}]\n'
        text += f'[[task.replaces]]\nsystem = "dramatiq"\nname = "{name}"\n'
        text += f'path = "{module}.{name}"\nparameters = [{listed}]\n'
    for file, content in {"migration.toml": text, "broker.py": BROKER, **files}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(content, encoding="utf-8")
    return load_plan(folder / "migration.toml")

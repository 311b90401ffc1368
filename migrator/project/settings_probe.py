"""Ask the project's own code, in a process of its own, which brokers and databases it would use.

A rehearsal must not reach production. The process runs :mod:`migrator.agent.settings_probe`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrator.plan.model import Plan
from migrator.project.commands import ask_agent
from migrator.redaction import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the project's code would connect to."""

    #: URLs without secrets, with the port, and the virtual host or database at the end.
    brokers: tuple[str, ...]
    #: ``name@host``; for SQLite the file and nothing behind the @.
    databases: tuple[str, ...]
    #: What else a task could reach, by kind: caches, result backends, mail servers; without secrets.
    others: Mapping[str, str]


def probe(plan: Plan, *, environ: Mapping[str, str], settings: str = "") -> Reach:
    """Import the project's task modules and return what they are configured to use.

    Args:
        plan: The plan.
        environ: Of the process.
        settings: Another settings module than the plan's.

    Raises:
        UnreachableError: The project's interpreter can't run the project.
        ProjectCodeError: A module can't be imported.
    """
    modules = [module for endpoint in (*plan.legacy, plan.unified) for module in endpoint.modules]
    modules += sorted({task.path.rpartition(".")[0] for task in plan.tasks})
    words = (settings or plan.project.settings, *modules)
    found = ask_agent(plan, "settings_probe", *words, folder=plan.source_root, environ=environ)
    others = {name: redact(where) for name, where in sorted(found["others"].items())}
    return Reach(brokers=tuple(dict.fromkeys(found["brokers"])), databases=tuple(found["databases"]), others=others)

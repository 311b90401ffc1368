"""Asks the project's own code what a unified process would do.

The worker probe (:mod:`migrator.agent.worker_probe`) runs with the app, the folder and the variables that the plan
gives the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from migrator.brokers.connect import is_on_rabbitmq
from migrator.errors import MigratorError
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.project.commands import ask_agent
from migrator.wire.message import Side
from migrator.workers.drivers.command import environment

_SETTINGS = "DJANGO_SETTINGS_MODULE"


def ask(plan: Plan, process: Process | None, *, environ: Mapping[str, str]) -> Any:
    """Run the worker probe for a process of the plan, or for the unified app by itself, and return its answer.

    Raises:
        MigratorError: The app can't be imported.
    """
    own = environment(plan, process, environ=environ) if process is not None else dict(environ)
    tasks = [f"{task.name}={task.path}" for task in plan.tasks]
    settings = own.get(_SETTINGS, "") if process is not None and _SETTINGS in process.environment else ""
    words = (settings or plan.project.settings, application(process), ",".join(plan.unified.queues), *tasks)
    return ask_agent(plan, "worker_probe", *words, folder=_folder(plan, process), environ=own)


def ask_worker(plan: Plan, *, environ: Mapping[str, str]) -> Any:
    """Return the answer for the first unified worker.

    Raises:
        MigratorError: The app can't be imported.
    """
    return ask(plan, next(iter(plan.select(side=Side.UNIFIED, role=Role.WORKER)), None), environ=environ)


def releases_parked(plan: Plan, *, environ: Mapping[str, str]) -> bool:
    """Return whether the unified workers release parked messages: not on RabbitMQ, nor if the app can't be asked."""
    if is_on_rabbitmq(plan.unified, environ):
        return False
    try:
        return bool(ask_worker(plan, environ=environ)["settings"]["releases_parked"])
    except MigratorError:
        return False


def alike(process: Process | None, other: Process | None) -> bool:
    """True if the answer for the first holds for the other too, as it has to for one whose command isn't known."""
    if other is None or not other.command:
        return True
    return process is not None and _what_counts(process) == _what_counts(other)


def _what_counts(process: Process) -> tuple[str, str, dict[str, str]]:
    return application(process), process.directory, dict(process.environment)


def _folder(plan: Plan, process: Process | None) -> Path:
    return plan.folder / process.directory if process is not None and process.command else plan.source_root


def application(process: Process | None) -> str:
    """Return what a process's command names with ``-A``; empty if that stands elsewhere."""
    return option(process.command if process is not None else (), "-A", "--app")


def option(command: Sequence[str], short: str, long: str) -> str:
    """Return the value of an option in a command; empty if it isn't given."""
    for part, after in zip_longest(command, command[1:], fillvalue=""):
        if part in (short, long):
            return after
        if part.startswith(f"{long}="):
            return part.partition("=")[2]
    return ""

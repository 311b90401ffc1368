"""Which legacy processes have to go on, because tasks outside of the plan's scope need them?

Each process is asked what it would serve on the converted source, by its own command
(:mod:`migrator.agent.staying_probe`): a worker stays if a task of the project that the plan doesn't name is in a queue
that it reads and that no unified worker reads; a beat stays if it alone has an entry. Where that can't be asked, the
plan says it (`stays`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migrator.errors import MigratorError, UnreachableError
from migrator.plan.model import Plan
from migrator.plan.processes import Process, Role
from migrator.project.commands import ask_agent
from migrator.report import Finding, Report
from migrator.steps.protocol import STAYING, Context, error, findings_report
from migrator.wire.message import Side, System
from migrator.workers.drivers.command import arguments, environment

#: What a task is asked for with: where its messages lie, and in which queue.
Place = tuple[System | None, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a process would do on the converted source."""

    #: Tasks of the project that the plan doesn't name, by where their messages lie.
    tasks: Mapping[str, Place]
    #: Where it reads; None for every queue.
    queues: frozenset[str] | None
    #: Schedule entries whose task the plan doesn't name.
    entries: frozenset[str]
    #: True if the entries are rows of the database.
    has_rows: bool


def guard(context: Context) -> Report:
    """Return which legacy processes stay, as a fact, and which can't be judged."""
    plan, findings, stays = context.plan, list[Finding](), list[str]()
    if not plan.scope:
        return findings_report("processes that stay", ())
    asked = [p for p in plan.select(side=Side.LEGACY) if p.stays is None and p.role is not Role.PRODUCER]
    unified = [p for p in plan.select(side=Side.UNIFIED) if p.role is not Role.PRODUCER] if asked else []
    seen: dict[str, Served] = {}
    for process in (*asked, *unified):
        try:
            seen[process.name] = _ask(context, process)
        except MigratorError as failure:
            if process in asked:
                findings.append(_unknown(process, failure))
    others = [(process, seen[process.name]) for process in unified if process.name in seen]
    for process in plan.select(side=Side.LEGACY):
        if process.stays or (process.name in seen and _has_to_go_on(process, seen[process.name], others)):
            stays.append(process.name)
    return findings_report("processes that stay", findings, checked=max(1, len(asked)), **{STAYING: stays})


def _has_to_go_on(process: Process, served: Served, unified: Iterable[tuple[Process, Served]]) -> bool:
    if process.role is Role.SCHEDULER:
        beats = [other for twin, other in unified if twin.role is Role.SCHEDULER]
        rows = served.has_rows and not any(other.has_rows for other in beats)
        return rows or bool(served.entries.difference(*(other.entries for other in beats)))
    taken = {
        place
        for twin, other in unified
        if twin.role is Role.WORKER
        for place in other.tasks.values()
        if other.queues is None or place[2] in other.queues
    }
    places = set(served.tasks.values()) - taken
    return any(served.queues is None or queue in served.queues for _, _, queue in places)


def _ask(context: Context, process: Process) -> Served:
    plan = context.plan
    if not process.command or process.system is None or (process.role, process.system) == NO_BEAT:
        raise MigratorError(f"process {process.name}", "has no command that tells what it serves")
    words = arguments(plan, process, environ=context.environ, node=process.name)
    answer = ask_agent(
        plan,
        "staying_probe",
        plan.project.settings,
        process.system.value,
        *words,
        folder=plan.folder / process.directory,
        environ=environment(plan, process, environ=context.environ),
    )
    if answer is None:
        raise UnreachableError(f"process {process.name}", "what it serves can't be seen", found=" ".join(words))
    return _served(plan, process.system, answer)


#: No library's own process for schedules of actors is known.
NO_BEAT = (Role.SCHEDULER, System.DRAMATIQ)


def _served(plan: Plan, system: System, answer: Mapping[str, Any]) -> Served:
    unified = {task.name for task in plan.tasks} if system is System.CELERY else set[str]()
    tasks = {
        name: (system, answer["place"], queue)
        for name, queue, file in answer["tasks"]
        if name not in unified and not plan.names(system, name) and _is_own(plan, file)
    }
    entries = frozenset(
        entry for entry, task in answer["schedule"].items() if task not in unified and not plan.names(system, task)
    )
    queues = None if answer["queues"] is None else frozenset(answer["queues"])
    has_rows = "DatabaseScheduler" in answer.get("scheduler", "") or "django_celery_beat" in answer.get("scheduler", "")
    return Served(tasks=tasks, queues=queues, entries=entries, has_rows=has_rows)


def _is_own(plan: Plan, file: str) -> bool:
    """True for a file of the project, not of an installed package."""
    path = Path(os.path.realpath(file)) if file else None
    return path is not None and path.is_relative_to(plan.folder) and "site-packages" not in path.parts


def _unknown(process: Process, failure: MigratorError) -> Finding:
    remedy = "write `stays = true` under its [[process]] if tasks that stay need it, or `stays = false`"
    return error(
        "STAYS-UNKNOWN",
        f"process {process.name}",
        "it can't be seen whether tasks that stay need it",
        found=f"{failure.what}: {failure.found}" if failure.found else failure.what,
        remedy=remedy,
    )

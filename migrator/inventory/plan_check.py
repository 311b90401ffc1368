"""Compares a plan with the source: every missing or unknown name and wrong parameter list, in one go."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path

from migrator.errors import did_you_mean
from migrator.inventory.beat_entries import ScheduleDefinition
from migrator.inventory.declared_queues import unnamed_ages, unnamed_queues
from migrator.inventory.scan import Inventory
from migrator.inventory.source_files import module_files, module_name
from migrator.inventory.staying import Staying, staying
from migrator.inventory.targets import check_targets
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.inventory.unfollowed import UNSEEN
from migrator.plan.model import Plan, RetiredTask, TaskMapping
from migrator.report import Finding, Report, Severity
from migrator.wire.message import System


def check_complete(plan: Plan, inventory: Inventory) -> Report:
    """Compare a plan with the project: every missing or unknown name and wrong parameter list, in one go.

    The source may be what it was before the rewrite, after it, or after the cutover, which takes legacy files away.
    """
    converted = _converted(plan, inventory)
    left = staying(plan, inventory)
    legacy = [
        task
        for task in inventory.tasks
        if task not in left.tasks
        and (task.system is not System.CELERY or task.path not in converted or plan.mapping(task.system, task.name))
    ]
    findings = [
        *_missing_tasks(plan, legacy),
        *_unknown_tasks(plan, inventory, legacy, converted),
        *_parameters(plan, legacy),
        *_schedules(plan, inventory, left),
        *check_targets(plan, inventory),
        *_empty_patterns(plan, inventory),
        *_retired_with_staying(plan, left),
        *_result_last(plan, inventory),
        *_unseen(plan, inventory),
        *_options(plan, legacy),
    ]
    return Report(
        subject="plan and source",
        checked=len(inventory.tasks) + len(inventory.schedule),
        findings=tuple(findings),
        facts={
            "tasks": len(legacy),
            "schedule": len(inventory.schedule),
            "python_files": inventory.files,
            **(left.facts if plan.scope else {}),
        },
    )


def _converted(plan: Plan, inventory: Inventory) -> frozenset[str]:
    """Return the paths of the unified tasks that the source has; in place, the same function was legacy before."""
    unified = {task.path for task in plan.tasks}
    return frozenset(t.path for t in inventory.tasks if t.system is System.CELERY and t.path in unified)


def _named(plan: Plan) -> list[TaskMapping | RetiredTask]:
    return [*plan.mappings(), *plan.retired]


def _unseen(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    """Yield the places that can't be read or followed and that the plan doesn't speak of."""
    for file, why in inventory.unreadable:
        if _file_in_scope(plan, file):
            yield _error(
                "PLAN-UNREADABLE-FILE", str(file), "can't be parsed", why, "correct it: tasks in it are unseen"
            )
    paths = {named.path for named in _named(plan)}
    paths |= {named.path.rpartition(".")[0] for named in _named(plan) if named.computed}
    for place in inventory.unseen:
        if place.path not in paths and _file_in_scope(plan, place.file):
            yield Finding(
                code="PLAN-UNSEEN-TASK",
                severity=Severity.WARNING,
                where=f"{place.file}:{place.line}",
                what="a task is made here, or may be, in a way that can't be followed",
                found=place.path,
                remedy="if it is one, name it in the plan with its path and `computed = true`; "
                f"if not: # migrator: ignore[{UNSEEN}] with the reason",
            )


def _file_in_scope(plan: Plan, file: Path) -> bool:
    return plan.in_scope(f"{module_name(plan.source_root, file)}.")


def _options(plan: Plan, legacy: Sequence[LegacyDefinition]) -> Iterator[Finding]:
    for task, queue in unnamed_queues(plan, legacy):
        remedy = (
            f"add it to `queues` under [legacy.{task.system.value}], or leave it alone under [[leave]] with a reason"
        )
        what = f"the queue {queue} of {task.path} is not in the plan"
        yield _error("PLAN-MISSING-QUEUE", f"{task.file}:{task.line}", what, "", remedy)
    for task, age_ms in unnamed_ages(plan, legacy):
        what = f"the actor {task.name} has an age limit that the plan does not have"
        remedy = f"write max_age_ms = {age_ms} under its [[task.replaces]]: its messages don't say it"
        yield _error("PLAN-MAX-AGE", f"{task.file}:{task.line}", what, f"max_age={age_ms}", remedy)


def _missing_tasks(plan: Plan, legacy: Sequence[LegacyDefinition]) -> Iterator[Finding]:
    for task in legacy:
        where = f"{task.file}:{task.line}"
        if not task.name:
            if any(named.computed and named.path == task.path for named in _named(plan)):
                continue
            yield _error(
                "PLAN-COMPUTED-NAME",
                where,
                f"the name of the {task.system.value} task {task.path} is computed",
                "",
                "write it out as a string, or list each name that it has with this path and `computed = true`",
            )
        elif plan.mapping(task.system, task.name) is None and plan.retirement(task.system, task.name) is None:
            yield _error(
                "PLAN-MISSING-TASK",
                where,
                f"the {task.system.value} task {task.name} is not in the plan",
                "",
                "add it under [[task.replaces]], or under [[retired]] with a reason",
            )


def _unknown_tasks(
    plan: Plan, inventory: Inventory, legacy: Sequence[LegacyDefinition], converted: frozenset[str]
) -> Iterator[Finding]:
    places = {place.path for place in inventory.unseen}
    computed = {task.path for task in legacy if not task.name}
    behind = _left_behind(plan, converted)
    for entry in _named(plan):
        system, name, path = entry.system, entry.name, entry.path
        known = {task.name: task.path for task in legacy if task.system is system}
        where = f"{plan.file}: {system.value}:{name}"
        if name not in known:
            if path in converted or path in places or _is_retired_file(plan, path) or entry in behind:
                continue
            if entry.computed and (path in computed or path.rpartition(".")[0] in places):
                continue
            yield Finding(
                code="PLAN-UNKNOWN-TASK",
                # It may be declared at one of the places listed as unseen.
                severity=Severity.WARNING if inventory.unseen else Severity.ERROR,
                where=where,
                what=f"no {system.value} task of that name is in {plan.project.root}",
                remedy=did_you_mean(name, known) or "remove it, or correct the name",
            )
        elif path not in [task.path for task in legacy if task.system is system and task.name == name]:
            yield _error(
                "PLAN-PATH", where, "the function is elsewhere", f"plan says {path}", f"path = {known[name]!r}"
            )


def _left_behind(plan: Plan, converted: frozenset[str]) -> list[TaskMapping]:
    """Return the actors that the rewrite made plain functions: their module is converted, their successor is there."""
    homes = {path.rpartition(".")[0] for path in converted & {mapping.path for mapping in plan.mappings()}}
    tasks = {task.name: task.path for task in plan.tasks}
    actors = [mapping for mapping in plan.mappings() if mapping.system is System.DRAMATIQ]
    return [m for m in actors if m.path.rpartition(".")[0] in homes and tasks.get(m.unified) in converted]


def _is_retired_file(plan: Plan, path: str) -> bool:
    """Tell whether the module of a task is one of the plan's legacy files and is gone, as after a cutover."""
    candidates = module_files(plan.source_root, path.rpartition(".")[0])
    retired = [plan.folder / name for name in plan.project.retire]
    return not any(file.exists() for file in candidates) and any(
        file == place or file.is_relative_to(place) for file in candidates for place in retired
    )


def _parameters(plan: Plan, legacy: Sequence[LegacyDefinition]) -> Iterator[Finding]:
    for task in legacy:
        mapping = plan.mapping(task.system, task.name) if task.name else None
        if not mapping or mapping.parameters == task.parameters:
            continue
        if not task.open_ended or (task.parameters and not mapping.parameters):
            yield _error(
                "PLAN-PARAMETERS",
                f"{plan.file}: {task.system.value}:{task.name}",
                "the parameters are not those of the source",
                f"plan says {list(mapping.parameters)}, {task.file}:{task.line} says {list(task.parameters)}",
                f"parameters = {list(task.parameters)}",
            )


def _result_last(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    last = {task.path: task.name for task in plan.tasks if task.result_last}
    for task in inventory.tasks:
        if task.system is System.CELERY and task.path in last and not task.result_last:
            yield _error(
                "PLAN-RESULT-LAST",
                f"{task.file}:{task.line}",
                f"the plan says result_last of {last[task.path]}, and in a chain it would get the result first",
                "",
                "put @result_last (migrator/tasks/result_last.py) below its decorator, or remove it from the plan",
            )


def _empty_patterns(plan: Plan, inventory: Inventory) -> Iterator[Finding]:
    """Report patterns of the scope that no task's module has, now or before the rewrite."""
    paths = [task.path for task in inventory.tasks] + [m.path for m in plan.mappings()] + [r.path for r in plan.retired]
    modules = {path.rpartition(".")[0] for path in paths}
    for pattern in plan.scope:
        if not fnmatch.filter(modules, pattern):
            remedy = did_you_mean(pattern, modules) or "name dotted modules, such as orders.tasks or orders.*"
            yield _error("PLAN-SCOPE", f"{plan.file}: scope.modules", "no task is in such a module", pattern, remedy)


def _retired_with_staying(plan: Plan, left: Staying) -> Iterator[Finding]:
    for task in left.tasks:
        for name in plan.project.retire:
            if task.file.is_relative_to(plan.folder / name):
                where, what = f"{plan.file}: project.retire", f"{name} defines a task that stays"
                found, remedy = f"{task.path}, {task.file}:{task.line}", "take the file out of `retire`"
                yield _error("PLAN-RETIRE-STAYS", where, what, found, remedy)


def _schedules(plan: Plan, inventory: Inventory, left: Staying) -> Iterator[Finding]:
    named = {name for entry in plan.schedule for name in entry.replaces}
    retired = {entry.name for entry in plan.retired_schedule}
    known = {entry.name for entry in inventory.schedule}
    written = _written(plan, inventory)
    for entry in inventory.schedule:
        if entry in written or entry.name in named | retired or entry in left.schedule:
            continue
        if entry.name.endswith(":"):
            yield _error(
                "PLAN-COMPUTED-NAME",
                f"{entry.file}:{entry.line}",
                "the name of a schedule entry is computed",
                entry.name,
                "write the name out as a string",
            )
        else:
            yield _error(
                "PLAN-MISSING-SCHEDULE",
                f"{entry.file}:{entry.line}",
                f"schedule entry {entry.name} is not in the plan",
                "",
                "add it to `replaces` of a [[schedule]], or under [[retired_schedule]] with a reason",
            )
    for name in sorted((named | retired) - known - _removed_entries(plan, written)):
        yield _error(
            "PLAN-UNKNOWN-SCHEDULE",
            f"{plan.file}: {name}",
            "no schedule entry of that name is in the source",
            "",
            did_you_mean(name, known) or "remove it, or write it as module:entry",
        )
    for name in sorted(named & retired):
        yield _error("PLAN-SCHEDULE-TWICE", f"{plan.file}: {name}", "is replaced and retired", "", "keep one of them")


def _written(plan: Plan, inventory: Inventory) -> frozenset[ScheduleDefinition]:
    """Return the entries that are the plan's own, as the rewrite writes them."""
    going = {plan.folder / file for file in plan.project.retire}
    own = {(entry.name, entry.task) for entry in plan.schedule}
    return frozenset(
        entry
        for entry in inventory.schedule
        if entry.file not in going and (entry.name.partition(":")[2], entry.task) in own
    )


def _removed_entries(plan: Plan, written: frozenset[ScheduleDefinition]) -> frozenset[str]:
    """Return the legacy entries that the rewrite removed: those whose successor is there, and the retired ones if all
    successors are.
    """
    there = {entry.name.partition(":")[2] for entry in written}
    gone = {name for entry in plan.schedule if entry.name in there for name in entry.replaces}
    if plan.schedule and all(entry.name in there for entry in plan.schedule):
        gone |= {entry.name for entry in plan.retired_schedule}
    return frozenset(gone)


def _error(code: str, where: str, what: str, found: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, found=found, remedy=remedy)

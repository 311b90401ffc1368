"""Read ``migration.toml`` into a :class:`~migrator.plan.Plan`, collecting every problem before refusing.

Each problem is one sentence that begins with the key's path, such as ``task[3].replaces[0].system``.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from migrator.errors import PlanError, UsageError, did_you_mean
from migrator.plan.crontab import crontab_problem
from migrator.plan.decisions import is_open, open_decisions
from migrator.plan.dismissals import read_dismissals
from migrator.plan.leave import read_left_queues
from migrator.plan.model import (
    Cutover,
    Endpoint,
    MissedFirings,
    Operation,
    OperationKind,
    Plan,
    PlannedTask,
    PriorityLevel,
    Project,
    RetiredSchedule,
    RetiredTask,
    ScheduleEntry,
    TaskMapping,
)
from migrator.plan.names import check_names
from migrator.plan.processes import read_process
from migrator.plan.queue_names import check_queues
from migrator.plan.scope import check_scope, read_scope
from migrator.plan.toml_lines import toml_lines
from migrator.plan.toml_table import Problems, TomlTable
from migrator.wire.message import Side, System


def load_plan(file: Path, *, draft: bool = False) -> Plan:
    """Read and validate a plan.

    Args:
        file: The plan.
        draft: Accept values that say DECIDE, which no command after `init` does.

    Raises:
        UsageError: The file can't be read or is no TOML.
        PlanError: The plan has problems; it lists every one.
    """
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(
            str(file), "there is no plan here", remedy="run `migrator init`, or name one with --plan"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(str(file), "the plan can't be read", found=str(error), remedy="correct the file") from error
    undecided = dict(open_decisions(document))
    problems = Problems(lines=toml_lines(text), undecided=frozenset(undecided))
    plan = _plan(TomlTable(document, "", problems), file, _fingerprint(document))
    check_names(plan, problems)
    check_queues(plan, problems)
    check_scope(plan, text, problems)
    for path, value in () if draft else undecided.items():
        problems.tell(path, f"still to be decided (found {value!r}); write what holds here")
    if problems.sentences:
        raise PlanError(str(file), problems.sentences)
    return plan


def _fingerprint(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str)).hexdigest()


def _plan(top: TomlTable, file: Path, fingerprint: str) -> Plan:
    migration, legacy = top.table("migration"), top.table("legacy")
    project = _project(top.table("project"))
    plan = Plan(
        name=migration.text("name"),
        file=file,
        project=project,
        legacy=tuple(
            _endpoint(legacy.table(system.value), Side.LEGACY, system)
            for system in (System.DRAMATIQ, System.CELERY)
            if legacy.take(system.value, None) is not None
        ),
        unified=_endpoint(top.table("unified"), Side.UNIFIED, System.CELERY),
        tasks=tuple(_task(table) for table in top.tables("task")),
        retired=tuple(_retired(table) for table in top.tables("retired")),
        schedule=tuple(_schedule(table) for table in top.tables("schedule")),
        retired_schedule=tuple(_retired_schedule(table) for table in top.tables("retired_schedule")),
        processes=tuple(read_process(table) for table in top.tables("process")),
        cutover=_cutover(top.table("cutover")) if "cutover" in top.data else Cutover(),
        fingerprint=fingerprint,
        rehearsal=_rehearsal(top.table("rehearsal")) if "rehearsal" in top.data else {},
        scope=read_scope(top.table("scope")) if "scope" in top.data else (),
        dismissals=read_dismissals(top.tables("dismiss")),
        leaves=read_left_queues(top.tables("leave")),
    )
    for table in (migration, legacy, top):
        table.close()
    return plan


def _project(table: TomlTable) -> Project:
    project = Project(
        root=table.relative_path("root"),
        settings=table.dotted("settings"),
        manage=table.texts("manage", default=("{python}", "manage.py")),
        python=table.words("python"),
        retire=table.relative_paths("retire"),
        install_package=(package := table.dotted("install_package", default="")),
        install_to=table.relative_path("install_to", default=""),
        app_label=table.text("app_label", default="tasks" if package else ""),
    )
    table.close()
    return project


def _cutover(table: TomlTable) -> Cutover:
    cutover = Cutover(
        legacy_aliases=table.flag("legacy_aliases"),
        legacy_aliases_quiet_s=table.number("legacy_aliases_quiet_s", default=24 * 3600) or 24 * 3600,
        missed_firings=table.choice("missed_firings", MissedFirings, default=MissedFirings.RUN),
    )
    table.close()
    return cutover


def _rehearsal(table: TomlTable) -> Mapping[str, str]:
    variables = table.mapping("environment")
    for name, value in variables.items():
        if not isinstance(value, str):
            table.problem(f"environment.{name}", "needs a string", f"found {value!r}")
    table.close()
    return {name: str(value) for name, value in variables.items()}


def _endpoint(table: TomlTable, side: Side, system: System) -> Endpoint:
    endpoint = Endpoint(
        side=side,
        system=system,
        url=table.broker_url("broker", system),
        queues=table.texts("queues"),
        namespace=table.text("namespace", default="dramatiq"),
        modules=table.dotted_names("modules"),
        max_age_ms=table.integer("max_age_ms", default=None),
        encoder=table.text("encoder", default=""),
        priority_separator=table.text("priority_separator", default="\x06\x16"),
        priority_steps=table.integers("priority_steps", default=(0, 3, 6, 9)),
        key_prefix=table.text("key_prefix", default=""),
        master_name=table.text("master_name", default=""),
        visibility_timeout_s=table.number("visibility_timeout_s", default=3600) or 3600,
    )
    if endpoint.key_prefix and (side is Side.UNIFIED or system is not System.CELERY):
        table.problem("key_prefix", "only legacy.celery can have one", "Dramatiq has namespace; the unified app none")
    table.close()
    return endpoint


def _task(table: TomlTable) -> PlannedTask:
    name = table.text("name")
    replaces = tuple(_mapping(child, name) for child in table.tables("replaces"))
    if len(replaces) == 1:
        replaces = (replace(replaces[0], primary=True),)
    elif sum(mapping.primary for mapping in replaces) != 1 and replaces:
        table.problem("replaces", "exactly one entry needs `primary = true`", "a rollback must know which name to use")
    parameters, result_last = table.parameters(), table.flag("result_last")
    task = PlannedTask(
        name=name,
        path=table.dotted("path"),
        parameters=parameters,
        result_last=result_last,
        priority=table.choice("priority", PriorityLevel, default=PriorityLevel.MEDIUM),
        max_retries=table.integer("max_retries", default=None),
        replaces=tuple(
            replace(mapping, result_last=result_last, operations=mapping.operations or _moved(mapping, parameters))
            for mapping in replaces
        ),
        queue=table.text("queue", default=""),
    )
    for index, mapping in enumerate(replaces):
        _check_targets(table, index, mapping, task.parameters)
    table.close()
    return task


def _moved(mapping: TaskMapping, parameters: tuple[str, ...]) -> tuple[Operation, ...]:
    """Return operations that pass by name what has another position in the unified task: a rename to itself."""
    if not set(mapping.parameters) <= set(parameters):
        return ()  # reported by _check_targets
    moved = [old for index, old in enumerate(mapping.parameters) if parameters[index : index + 1] != (old,)]
    return tuple(Operation(kind=OperationKind.RENAME, name=name, to=name) for name in moved)


def _mapping(table: TomlTable, unified: str) -> TaskMapping:
    parameters = table.parameters()
    mapping = TaskMapping(
        system=table.choice("system", System),
        name=table.text("name"),
        path=table.dotted("path", default="") or table.text("name"),
        parameters=parameters,
        operations=tuple(_operation(child, parameters) for child in table.tables("arguments")),
        unified=unified,
        primary=table.flag("primary"),
        queue=table.text("queue", default=""),
        computed=table.flag("computed"),
        max_age_ms=table.integer("max_age_ms", default=None),
    )
    if mapping.max_age_ms is not None and mapping.system is not System.DRAMATIQ:
        table.problem("max_age_ms", "only an actor has one", "a message of Celery has its own expires")
    table.close()
    return mapping


def _operation(table: TomlTable, parameters: tuple[str, ...]) -> Operation:
    kinds = [kind for kind in OperationKind if kind.value in table.data]
    if len(kinds) != 1:
        table.problem("", "needs exactly one of rename, wrap, constant, drop", f"found {sorted(table.data)}")
        return Operation(kind=OperationKind.DROP, name="")
    kind = kinds[0]
    name = table.text(kind.value)
    operation = Operation(
        kind=kind,
        name=name,
        to=table.text("to") if kind in (OperationKind.RENAME, OperationKind.WRAP) else "",
        value=table.take("value") if kind is OperationKind.CONSTANT else None,
        reason=table.text("reason") if kind is OperationKind.DROP else "",
    )
    if kind is not OperationKind.CONSTANT and name and (name not in parameters or name.startswith("*")):
        table.problem(kind.value, f"{name!r} is not a parameter of the legacy task", did_you_mean(name, parameters))
    table.close()
    return operation


def _check_targets(table: TomlTable, index: int, mapping: TaskMapping, parameters: tuple[str, ...]) -> None:
    changed = {operation.name for operation in mapping.operations if operation.kind is not OperationKind.CONSTANT}
    targets = [
        operation.name if operation.kind is OperationKind.CONSTANT else operation.to
        for operation in mapping.operations
        if operation.kind is not OperationKind.DROP
    ]
    targets += [name for name in mapping.parameters if name not in changed]
    for target in targets:
        if target and target not in parameters and not is_open(target):
            table.problem(
                f"replaces[{index}]",
                f"{target!r} is not a parameter of {mapping.unified}",
                did_you_mean(target, parameters) or "rename, wrap or drop it under `arguments`",
            )
    for target, times in Counter(targets).items():
        if times > 1:
            table.problem(
                f"replaces[{index}]", f"{target!r} would be given {times} times", "drop or rename one of them"
            )


def _retired(table: TomlTable) -> RetiredTask:
    retired = RetiredTask(
        system=table.choice("system", System),
        name=table.text("name"),
        path=table.dotted("path", default="") or table.text("name"),
        reason=table.text("reason"),
        computed=table.flag("computed"),
    )
    table.close()
    return retired


def _schedule(table: TomlTable) -> ScheduleEntry:
    entry = ScheduleEntry(
        name=table.text("name"),
        task=table.text("task"),
        crontab=table.text("crontab", default=""),
        every_s=table.number("every_s", default=None),
        kwargs=table.mapping("kwargs"),
        replaces=table.texts("replaces", default=()),
    )
    if ("crontab" in table.data) == ("every_s" in table.data):
        table.problem("", "needs exactly one of crontab, every_s")
    if "crontab" in table.data and (why := crontab_problem(entry.crontab)):
        table.problem("crontab", why, f"found {entry.crontab!r}")
    table.close()
    return entry


def _retired_schedule(table: TomlTable) -> RetiredSchedule:
    retired = RetiredSchedule(name=table.text("name"), reason=table.text("reason"))
    table.close()
    return retired

"""Draft the plan's processes from what deployment files say: the legacy ones, and what takes their place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tomlkit
from tomlkit.items import Table

from migrator.inventory.chosen_programs import Chosen
from migrator.inventory.deployment.command_words import Started, option
from migrator.inventory.deployment.program import Manager, Program
from migrator.inventory.deployment.settings_texts import VARIABLE
from migrator.inventory.draft_workloads import draft_workload, unified_workload
from migrator.plan.decisions import DECIDE
from migrator.plan.processes import Driver, Role
from migrator.wire.message import System

#: Celery's options that belong to the legacy process alone, each with a value.
_OWN = {
    Role.WORKER: (
        "-A",
        "--app",
        "-Q",
        "--queues",
        "-c",
        "--concurrency",
        "--autoscale",
        "-n",
        "--hostname",
        "--pidfile",
    ),
    Role.SCHEDULER: ("-A", "--app", "-s", "--schedule", "--pidfile"),
}
_WORDS = {Role.WORKER: "worker", Role.SCHEDULER: "beat"}
_IN_CONTAINERS = frozenset({Manager.KUBERNETES, Manager.COMPOSE, Manager.DOCKERFILE})


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftScope:
    """What the drafted processes are for."""

    #: Folder of the plan, and the import root below it.
    folder: Path
    root: str
    #: Celery app of the unified tasks, as ``-A`` takes it.
    app: str
    #: Unified queues, and the legacy ones by system.
    queues: tuple[str, ...]
    legacy: Mapping[System, tuple[str, ...]]
    #: The unified queues of the tasks that a legacy queue has.
    moves: Mapping[tuple[System, str], set[str]]
    #: The plan has entries of a schedule.
    scheduled: bool = False


def process_tables(chosen: Sequence[Chosen], scope: DraftScope) -> Iterator[Table]:
    """Yield the legacy processes, then those that take their place."""
    for item in chosen:
        yield _legacy(item, scope)
    for role in (Role.WORKER, Role.SCHEDULER):
        groups = _groups(chosen, role, scope)
        for queues, group in groups.items():
            yield _unified(role, queues, group, scope)
        if role is Role.SCHEDULER and scope.scheduled and not groups:
            workers = [item.program for item in chosen if item.program.role is Role.WORKER]
            embedded = any({"-B", "--beat"} & set(item.started.options) for item in workers)
            for model in workers[: 0 if embedded else 1]:
                yield _new_scheduler(model, scope)
    for item in chosen:
        if item.program.role is Role.PRODUCER:
            yield _producer(item.program, scope)


def _groups(chosen: Sequence[Chosen], role: Role, scope: DraftScope) -> dict[tuple[str, ...], list[Program]]:
    """Return the legacy processes by the unified queues of the one process that takes their place."""
    groups: dict[tuple[str, ...], list[Program]] = {}
    for item in chosen:
        if item.program.role is not role:
            continue
        system = item.program.system or System.CELERY
        every, read = set(scope.legacy.get(system, ())), set(item.program.started.queues)
        if role is Role.SCHEDULER or not read or read >= every:
            queues = scope.queues
        else:
            unknown = {name: {name if name in scope.queues else scope.queues[0]} for name in read}
            named = set().union(*(scope.moves.get((system, name), unknown[name]) for name in read))
            queues = tuple(name for name in scope.queues if name in named)
        groups.setdefault(queues, []).append(item.program)
    return groups


def _legacy(item: Chosen, scope: DraftScope) -> Table:
    program = item.program
    table = _table(f"legacy-{_slug(program)}", "legacy", program, scope)
    places = [f"{other.manager.value} {_place(other, scope)}" for other in item.also]
    origin = f"{program.manager.value} {program.name}, {_place(program, scope)}"
    table["name"].comment("; also ".join([origin, *places]))
    if program.driver in (Driver.COMMAND, Driver.EXTERNAL):
        words = [_reference(word) for word in program.started.command]
        named = any(word in ("-n", "--hostname") or word.startswith("--hostname=") for word in words)
        own = program.driver is Driver.COMMAND
        if own and program.role is Role.WORKER and program.system is System.CELERY and not named:
            words += ["-n", "{node}"]
        _command(table, words, program, scope)
        if program.workload is not None:
            draft_workload(table, program.workload, side="legacy")
    else:
        table["program" if program.driver is Driver.SUPERVISOR else "unit"] = program.name
    _stop(table, [program])
    return table


def _unified(role: Role, queues: tuple[str, ...], group: list[Program], scope: DraftScope) -> Table:
    model = next((item for item in group if item.system is System.CELERY), group[0])
    name = f"unified-{role.value}"
    if queues != scope.queues:
        name += "-" + "-".join(_plain(queue) for queue in queues)
    table = _table(name, "unified", model, scope)
    table["name"].comment("instead of " + ", ".join(item.name for item in group))
    words = unified_command(role, model.started, scope.app)
    if role is Role.WORKER:
        told = [item.started.concurrency for item in group]
        if None not in told:
            words.append(f"--concurrency={sum(number or 0 for number in told)}")
        words += ["-Q", ",".join(queues), "-n", "{node}"]
    else:
        words += ["--schedule", "{state}/unified-beat"]
    if model.driver is Driver.COMMAND:
        named = [item.settings for item in group if item.settings]
        settings = {VARIABLE: named[0]} if named else {}
        _command(table, words, replace(model, environment={**model.environment, **settings}), scope)
        if role is Role.WORKER:
            table["command"].comment(_capacity(group))
    elif model.workload is not None:
        words = [word for word in words if word not in ("-n", "{node}")]
        _command(table, words, model, scope)
        table["command"].comment(f"add {name} to the cluster with this command and no replicas")
        draft_workload(table, unified_workload(model.workload, name), side="unified")
    else:
        before = model.name.rpartition(":")[0]
        supervised = model.driver is Driver.SUPERVISOR
        table["program" if supervised else "unit"] = (
            f"{before}:{name}" if before else name + ".service" * (not supervised)
        )
        line = " ".join(words).replace("{state}/", "").replace(" -n {node}", "")
        capacity = f" ({_capacity(group)})" if role is Role.WORKER else ""
        key = "program" if supervised else "unit"
        table[key].comment(f"add it to the manager, not started by itself: {line}{capacity}")
    _stop(table, group)
    return table


def unified_command(role: Role, model: Started, app: str) -> list[str]:
    """Return the command of a unified process with the options that the legacy one gives to Celery."""
    program = [*model.wrapper, "celery"] if model.wrapper else ["{python}", "-m", "celery"]
    options = list(model.options) if model.system is System.CELERY else [_WORDS[role], "--loglevel=info"]
    kept: list[str] = []
    skip = False
    for word in options:
        if skip or word == _WORDS[role]:
            skip = False
        elif word in _OWN[role]:
            skip = True
        elif not any(word.startswith(f"{name}=" if name.startswith("--") else name) for name in _OWN[role]):
            kept.append(_reference(word))
    return [*program, "-A", app, _WORDS[role], *kept]


def _new_scheduler(model: Program, scope: DraftScope) -> Table:
    """Return the process that sends the plan's schedule, where the project has none yet: run as its worker is."""
    options = replace(model.started, role=Role.SCHEDULER, system=None, options=())
    table = _unified(Role.SCHEDULER, scope.queues, [replace(model, started=options, stop_timeout_s=None)], scope)
    table["name"].comment("sends the plan's schedule: no process was found that does nothing else")
    return table


def _capacity(group: Sequence[Program]) -> str:
    """Say how many messages the legacy workers run at a time."""
    return ", ".join(f"{item.name}: {item.started.concurrency_text}" for item in group)


def _producer(program: Program, scope: DraftScope) -> Table:
    table = _table(f"unified-{_slug(program)}", "unified", program, scope)
    if program.driver in (Driver.COMMAND, Driver.EXTERNAL):
        _command(table, [_reference(word) for word in program.started.command], program, scope)
        if program.workload is not None:
            name = f"unified-{_slug(program)}"
            table["command"].comment(f"add {name} to the cluster with this command and no replicas")
            draft_workload(table, unified_workload(program.workload, name), side="unified")
    else:
        group, _, name = program.name.rpartition(":")
        key = "program" if program.driver is Driver.SUPERVISOR else "unit"
        table[key] = f"{group}:unified-{name}" if group else f"unified-{name}"
        table[key].comment("add it to the manager, not started by itself")
    _stop(table, [program])
    return table


def _table(name: str, side: str, program: Program, scope: DraftScope) -> Table:
    table = tomlkit.table()
    table["name"], table["side"], table["role"] = name, side, program.role.value
    if program.role is not Role.PRODUCER:
        legacy = program.system.value if program.system is not None else "celery"
        table["system"] = legacy if side == "legacy" else "celery"
    if program.driver is not Driver.COMMAND:
        table["driver"] = program.driver.value
    return table


def _command(table: Table, words: Sequence[str], program: Program, scope: DraftScope) -> None:
    table["directory"] = _directory(program, words, scope)
    table["command"] = list(words)
    if program.environment and program.driver is Driver.COMMAND:
        environment = tomlkit.inline_table()
        environment.update({name: _reference(value) for name, value in program.environment.items()})
        table["environment"] = environment


def _directory(program: Program, words: Sequence[str], scope: DraftScope) -> str:
    """Return where a command runs: where the file says it, or where its script lies."""
    given = Path(program.directory)
    if program.directory and not given.is_absolute():
        return program.directory
    if program.directory and given.is_dir() and program.manager not in _IN_CONTAINERS:
        return program.directory
    scripts = [word for word in words if word.endswith(".py")]
    beside = program.file.parent
    if any((beside / word).is_file() for word in scripts) and beside.is_relative_to(scope.folder):
        return beside.relative_to(scope.folder).as_posix()
    return scope.root


def _stop(table: Table, group: Sequence[Program]) -> None:
    given = [item.stop_timeout_s for item in group if item.stop_timeout_s]
    if given:
        table["stop_timeout_s"] = max(given)


def _place(program: Program, scope: DraftScope) -> str:
    inside = program.file.is_relative_to(scope.folder)
    return f"{program.file.relative_to(scope.folder) if inside else program.file}:{program.line}"


def _reference(word: str) -> str:
    return re.sub(r"\$([A-Za-z_]\w*)", r"${\1}", word)


def _slug(program: Program) -> str:
    return _plain(program.name.removesuffix(".service"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def application(programs: Sequence[Chosen], applications: Sequence[str]) -> str:
    """Return the Celery app of the project as ``-A`` takes it: as its workers name it, or where it is assigned.

    Empty if it has none.

    Args:
        programs: What deployment files start.
        applications: Dotted names of what is assigned a Celery app.
    """
    for item in programs:
        if item.program.system is System.CELERY and (named := option(item.program.started.options, "-A", "--app")):
            return _reference(named)
    found = [_as_option(name) for name in applications]
    if len(found) > 1:
        return f"{DECIDE}: one of {', '.join(found)}"
    return found[0] if found else ""


def _as_option(dotted: str) -> str:
    module, _, name = dotted.rpartition(".")
    package, _, last = module.rpartition(".")
    return package if package and last == "celery" and name in ("app", "celery") else f"{module}:{name}"

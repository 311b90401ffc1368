"""Draft the plan's schedule: each legacy entry with its time and arguments, or what has to be decided about it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import tomlkit
from tomlkit.items import Table

from migrator.inventory.beat_entries import ScheduleDefinition
from migrator.inventory.facts.schedules import EntryFacts, entry_facts
from migrator.inventory.static_values import StaticValues
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.decisions import DECIDE
from migrator.wire.message import System

#: Each task with the name and the parameters of the unified task that it becomes.
Successors = Sequence[tuple[LegacyDefinition, str, Sequence[str]]]


def draft_schedule(
    entries: Sequence[ScheduleDefinition], tasks: Successors, values: StaticValues, jobs: Mapping[str, str]
) -> tuple[list[Table], list[Table]]:
    """Return the entries that get a successor, and those that a person must decide on.

    Args:
        entries: The legacy ones.
        tasks: What they may name.
        values: Reads their times and arguments.
        jobs: When jobs of other schedulers run, by ``module:entry``, as the plan writes it.
    """
    by_name: dict[str, dict[int, ScheduleDefinition]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, {}).setdefault(entry.line, entry)
    often = Counter(_name(next(iter(same.values()))) for same in by_name.values())
    kept, left = [], []
    for name, same in by_name.items():
        entry = next(iter(same.values()))
        found = _successor(entry, tasks)
        facts = entry_facts(entry, values, jobs.get(name, ""))
        if found is None or facts is None or len(same) > 1:
            left.append(_undecided(entry, sorted(same), unknown=found is None))
            continue
        task, unified, parameters = found
        table = tomlkit.table()
        own = _name(entry)
        table["name"] = own if often[own] == 1 else name.replace(":", "-")
        table["task"] = unified
        for key, value in _body(facts, task, parameters):
            table[key] = value
        table["replaces"] = [name]
        if facts.options:
            table["replaces"].comment(f"its options stay: {facts.options}")
        kept.append(table)
    return kept, left


def _undecided(entry: ScheduleDefinition, lines: Sequence[int], *, unknown: bool) -> Table:
    table = tomlkit.table()
    table["name"] = entry.name
    if len(lines) > 1:
        places = ", ".join(map(str, lines))
        table["reason"] = f"{DECIDE}: lines {places} are called so: give each a name of its own there, and draft again"
        return table
    why = f"its task {entry.task or '(computed)'} is none of the plan's" if unknown else "its time can't be read"
    table["reason"] = f"{DECIDE}: {why}: move it under [[schedule]] with `replaces`, or say why it is dropped"
    return table


def _name(entry: ScheduleDefinition) -> str:
    own = entry.name.partition(":")[2]
    return own if entry.beat else re.sub(r"[^a-z0-9]+", "-", own.lower()).strip("-")


def _successor(entry: ScheduleDefinition, tasks: Successors) -> tuple[LegacyDefinition, str, Sequence[str]] | None:
    """Return the task that an entry sends: of that name, or the only one whose function is called so."""
    named = [item for item in tasks if item[0].system is System.CELERY and item[0].name == entry.task]
    found = named or [item for item in tasks if entry.task and item[0].path.rpartition(".")[2] == entry.task]
    return found[0] if len({unified for _, unified, _ in found}) == 1 else None


def _body(facts: EntryFacts, task: LegacyDefinition, parameters: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Yield the time of an entry, and its arguments by the names that the unified task has for them."""
    if facts.every_s is not None:
        yield "every_s", facts.every_s
    else:
        yield "crontab", facts.crontab or f"{DECIDE}: {facts.problem}"
    kwargs = dict(facts.kwargs)
    if facts.problem and (facts.crontab or facts.every_s is not None):
        kwargs = {DECIDE: facts.problem}
    elif len(facts.args) > len(task.parameters):
        kwargs = {DECIDE: f"{task.path} has no {len(facts.args)} parameters for {list(facts.args)}"}
    else:
        kwargs = {**dict(zip(task.parameters, facts.args, strict=False)), **kwargs}
        # What becomes of a parameter that the unified task lacks is decided under its `arguments`.
        lacking = [name for name in kwargs if name in task.parameters and name not in parameters]
        asked = {f"{DECIDE}: the unified name of {name}": kwargs[name] for name in lacking}
        kwargs = {**{name: value for name, value in kwargs.items() if name not in lacking}, **asked}
    if kwargs:
        inline = tomlkit.inline_table()
        inline.update(kwargs)
        yield "kwargs", inline

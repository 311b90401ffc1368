"""Draft the queue, the priority and the retries of each unified task, as the legacy declarations have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tomlkit.items import Table

from migrator.inventory.facts.task_options import TaskOptions, max_retries_of, queue_of
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.decisions import DECIDE
from migrator.plan.model import PriorityLevel
from migrator.wire.broker_url import BrokerKind, broker_kind
from migrator.wire.message import System

#: Urgent first: the numbers that the plan's levels have on each server.
_LEVELS = (PriorityLevel.HIGH, PriorityLevel.MEDIUM, PriorityLevel.LOW)
_NUMBERS = {BrokerKind.REDIS: (0, 5, 9), BrokerKind.RABBITMQ: (9, 5, 1)}
Declared = Sequence[tuple[LegacyDefinition, TaskOptions]]


def add_policy(
    table: Table,
    group: Declared,
    plan: Mapping[str, Any],
    actors: Sequence[int],
    default: int | None,
    *,
    written: Declared = (),
) -> None:
    """Write what is known of one task into its table.

    Args:
        table: The task's.
        group: The legacy tasks that it replaces, with their options.
        plan: The draft so far, with its endpoints.
        actors: The different priorities of the project's actors, the most urgent first.
        default: How often Dramatiq's middleware retries an actor that says nothing; None if that isn't known.
        written: The unified task with its options, if it is written already.
    """
    unified = plan["unified"]
    levels = {_level(task, options, unified["broker"], actors) for task, options in group}
    table["priority"] = levels.pop() if len(levels) == 1 else f"{DECIDE}: {' or '.join(sorted(map(str, levels)))}"
    retries = {max_retries_of(task, options, default) for task, options in group}
    if len(retries) == 1 and (most := retries.pop()) is not None:
        table["max_retries"] = most
    queues = {queue for task, options in written or group if (queue := queue_of(task, options))}
    if len(queues) == 1 and (own := queues.pop()) in unified["queues"][1:]:
        table["queue"] = own
    for entry, (task, options) in zip(table["replaces"], group, strict=True):
        legacy = plan["legacy"][task.system.value]["queues"]
        if (queue := queue_of(task, options)) and queue != legacy[0]:
            entry["queue"] = queue
        if task.system is System.DRAMATIQ and isinstance(age_ms := options.values.get("max_age"), int):
            entry["max_age_ms"] = age_ms
        elif task.system is System.DRAMATIQ and "max_age" in options.computed:
            entry["max_age_ms"] = f"{DECIDE}: its max_age is {options.computed['max_age']}"
        if options.text:
            entry["name"].comment(f"{task.path} has {options.text}".replace("\n", " "))


def _level(task: LegacyDefinition, options: TaskOptions, broker: str, actors: Sequence[int]) -> str:
    """Return the level of a legacy task's own priority."""
    if "priority" in options.computed:
        return f"{DECIDE}: its priority is {options.computed['priority']}"
    given = options.values.get("priority")
    if task.system is System.DRAMATIQ:
        # The same order as that of the project's other actors: 0 is what an actor without has.
        number = given if isinstance(given, int) else 0
        return _LEVELS[min(actors.index(number), 2)] if len(actors) > 1 else PriorityLevel.MEDIUM
    kind = broker_kind(broker.removeprefix("${").partition(":-")[2] if broker.startswith("${") else broker)
    if not isinstance(given, int):
        return PriorityLevel.MEDIUM
    if kind is None:
        return f"{DECIDE}: HIGH, MEDIUM or LOW; it has priority {given}"
    return min(zip(_NUMBERS[kind], _LEVELS, strict=True), key=lambda pair: abs(pair[0] - given))[1]


def actor_priorities(tasks: Iterable[tuple[LegacyDefinition, TaskOptions]]) -> tuple[int, ...]:
    """Return the different priorities that a project's actors have, the most urgent first."""
    given = (options.values.get("priority", 0) for task, options in tasks if task.system is System.DRAMATIQ)
    return tuple(sorted({number for number in given if isinstance(number, int)}))

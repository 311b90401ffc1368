"""Draft where both sides keep their messages: brokers, queues and what belongs to them, as the source says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.items import Table

from migrator.inventory.chosen_programs import Chosen
from migrator.inventory.facts.brokers import Fact
from migrator.inventory.facts.project import ProjectFacts
from migrator.inventory.facts.task_options import TaskOptions, queue_of, route_queue, routers
from migrator.inventory.task_definitions import LegacyDefinition
from migrator.plan.decisions import DECIDE
from migrator.wire.message import System

#: Keys of Celery's transport options, and of the plan.
_TRANSPORT = {
    "global_keyprefix": "key_prefix",
    "visibility_timeout": "visibility_timeout_s",
    "sep": "priority_separator",
    "priority_steps": "priority_steps",
    "master_name": "master_name",
}
Tasks = Sequence[tuple[LegacyDefinition, TaskOptions]]


def legacy_endpoint(system: System, tasks: Tasks, facts: ProjectFacts, processes: Sequence[Chosen]) -> Table:
    """Return the table of a legacy system.

    Args:
        system: The system.
        tasks: Its tasks with their options.
        facts: What the source says.
        processes: What deployment files start.
    """
    table = tomlkit.table()
    _set(table, "broker", facts.brokers.broker(system))
    if system is System.DRAMATIQ and (namespace := facts.brokers.namespace()) is not None:
        _set(table, "namespace", namespace)
    own = [item.program.started for item in processes if item.program.system is system]
    named = [name for started in own for name in started.queues]
    table["queues"] = list(dict.fromkeys([*used_queues(system, tasks, facts), *named]))
    table["modules"] = sorted({task.path.rpartition(".")[0] for task, _ in tasks})
    if system is System.DRAMATIQ and facts.max_age_ms is not None:
        table["max_age_ms"] = facts.max_age_ms
    if system is System.CELERY:
        _transport(table, facts, tuple(_TRANSPORT))
    return table


def unified_endpoint(legacy: Mapping[str, Any], facts: ProjectFacts, written: Tasks = ()) -> Table:
    """Return the table of the unified side: on the broker of the project's Celery, else on that of its Dramatiq.

    Args:
        legacy: The tables of the legacy systems.
        facts: What the source says.
        written: The unified tasks that are written already: the queues that they name are the unified ones.
    """
    table = tomlkit.table()
    model = legacy.get(System.CELERY.value, legacy.get(System.DRAMATIQ.value, {}))
    table["broker"] = str(model["broker"])
    taken = set(legacy.get(System.CELERY.value, {}).get("queues", ()))
    own = [name for name in legacy.get(System.DRAMATIQ.value, {}).get("queues", ()) if name != "default"]
    named = [queue_of(task, options) for task, options in written]
    plain = [] if named and all(named) else ["unified"]
    free = (name for name in [*named, *own] if name and name not in taken and not name.startswith(DECIDE))
    table["queues"] = list(dict.fromkeys([*plain, *free])) or ["unified"]
    _transport(table, facts, tuple(name for name in _TRANSPORT if name != "global_keyprefix"))
    return table


def _set(table: Table, key: str, fact: Fact) -> None:
    table[key] = fact.value
    if fact.where and not fact.known:
        table[key].comment(fact.where)


def used_queues(system: System, tasks: Tasks, facts: ProjectFacts) -> list[str]:
    """Return the queues that tasks, routes and settings name, the default one first if it is used."""
    named = [(task, queue_of(task, options)) for task, options in tasks]
    found = [name for _, name in named if name]
    for task, name in named:
        if name is None:
            found.append(f"{DECIDE}: the queue of {task.path} is computed")
    default = Fact(value="default")
    if system is System.CELERY:
        default = facts.brokers.setting("task_default_queue") or Fact(value="celery")
        found += [*_declared(facts.brokers.setting("task_queues")), *_routed(facts.brokers.setting("task_routes"))]
    plain = [str(default.value)] if not tasks or any(name == "" for _, name in named) else []
    return [*plain, *found]


def _declared(fact: Fact | None) -> list[str]:
    """Return the names in ``task_queues``: a list of names, or a dict by name."""
    if fact is None:
        return []
    if not fact.known:
        return [str(fact.value)]
    return [name for name in fact.value or () if isinstance(name, str)]


def _routed(fact: Fact | None) -> list[str]:
    """Return the queues of ``task_routes``; that a router decides while it runs has to be looked at."""
    tables = routers(fact.value) if fact is not None and fact.known and fact.value else []
    if fact is not None and not fact.known:
        return [str(fact.value)]
    if tables is None:
        return [f"{DECIDE}: the queues of a router: {fact.value if fact else ''}"]
    return [queue for table in tables for route in table.values() if (queue := route_queue(route))]


def _transport(table: Table, facts: ProjectFacts, names: Sequence[str]) -> None:
    fact = facts.brokers.setting("broker_transport_options")
    if fact is None:
        return
    if not isinstance(fact.value, dict):
        table["visibility_timeout_s"] = str(fact.value) if not fact.known else f"{DECIDE}: {fact.value}"
        return
    for name in names:
        if name in fact.value:
            table[_TRANSPORT[name]] = fact.value[name]

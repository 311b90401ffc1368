"""How a canvas is rewritten from old names to new ones, and calls of one task with many arguments.

Source: celery/app/builtins.py (``celery.map`` calls its task with each item, ``celery.starmap`` and ``celery.chunks``
with each item's elements as positional arguments).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from migrator.errors import AdaptationError
from migrator.plan.arguments import Call, by_position
from migrator.plan.model import TaskMapping

MAP, STARMAP, CHUNKS = "celery.map", "celery.starmap", "celery.chunks"
#: Celery's own tasks that call one task with each item of a list.
MAPPED = frozenset({MAP, STARMAP, CHUNKS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """How a canvas is rewritten from old names to new ones."""

    #: The mapping of a task by its old name, or the reason why there is none as text.
    find: Callable[[str], TaskMapping | str]
    #: The new name of a mapping's task, and the new form of its call.
    name: Callable[[TaskMapping], str]
    call: Callable[[TaskMapping, Sequence[Any], Mapping[str, Any]], Call]
    #: The positional order of the new task.
    parameters: Callable[[TaskMapping], Sequence[str]]
    #: The new queue of a mapping's task; that of a container without a task of its own is the first one.
    queue: Callable[[TaskMapping | None], str]
    #: The number on the wire; None if it stays as it is.
    priority: Callable[[TaskMapping], int | None]

    def reroute(self, options: dict[str, Any], mapping: TaskMapping | None) -> None:
        """Let a call go to the queue that its new worker reads, with the number that means its level there."""
        for name in ("exchange", "exchange_type", "routing_key"):
            options.pop(name, None)
        options["queue"] = self.queue(mapping)
        number = self.priority(mapping) if mapping is not None else None
        if number is not None:
            options["priority"] = number


def mapped_task(kwargs: Mapping[str, Any]) -> str:
    """Return the task that a map, a starmap or chunks call; empty if that can't be read."""
    inner = kwargs.get("task")
    name = inner.get("task") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) else ""


def renamed_items(renaming: Renaming, name: str, kwargs: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | str:
    """Return a map, a starmap or chunks for the new task, or why there is none.

    Args:
        renaming: From old names to new ones.
        name: The container.
        kwargs: Its arguments.

    Returns:
        The container, which is another one where a task takes more than the item, and its arguments.
    """
    mapping = renaming.find(mapped_task(kwargs))
    if isinstance(mapping, str):
        return mapping
    items = kwargs.get("it")
    if not isinstance(items, list) or not all(name == MAP or isinstance(item, list) for item in items):
        return f"its {name} has no readable items"
    inner = {**kwargs["task"], "task": renaming.name(mapping)}
    inner["options"] = dict(inner.get("options") or {})
    renaming.reroute(inner["options"], mapping)
    if not mapping.operations:
        return name, {**kwargs, "task": inner}
    rows = []
    for item in items:
        try:
            args, named = renaming.call(mapping, [item] if name == MAP else item, {})
        except AdaptationError as error:
            return str(error)
        row = _by_position(renaming.parameters(mapping), args, named)
        if row is None:
            return f"{mapping.name!r} would need arguments by name, and {name} gives them by position"
        rows.append(row)
    if name == MAP and all(len(row) == 1 for row in rows):
        return name, {**kwargs, "task": inner, "it": [row[0] for row in rows]}
    return STARMAP if name == MAP else name, {**kwargs, "task": inner, "it": rows}


def _by_position(parameters: Sequence[str], args: Sequence[Any], named: Mapping[str, Any]) -> list[Any] | None:
    """Return a call with positional arguments only; None if one of them would have a gap before it."""
    rest, row = dict(named), list(args)
    for name in by_position(parameters)[len(row) :]:
        if name not in rest:
            break
        row.append(rest.pop(name))
    return None if rest else row

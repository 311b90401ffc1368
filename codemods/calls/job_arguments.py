"""What a job of APScheduler gives the task that it sends, compared with the entry of the plan that takes its place.

Source: ``apscheduler/schedulers/base.py`` (``add_job(func, trigger, args, kwargs)``).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import libcst as cst

from codemods.calls.beat_entries import means_other_arguments
from codemods.editing.context import FileContext
from codemods.editing.literals import argument
from codemods.plan.plan_index import Target
from migrator.plan.model import ScheduleEntry

#: Positional and named arguments; None if they can't be known.
Given = tuple[list[Any], dict[str, Any]] | None


def of_job(context: FileContext, call: cst.Call) -> Given:
    """Return the arguments of ``add_job(task.send, …, args=[…], kwargs={…})``."""
    args, kwargs = argument(call, 2, "args"), argument(call, 3, "kwargs")
    try:
        return list(_literal(context, args) or ()), dict(_literal(context, kwargs) or {})
    except (ValueError, TypeError):
        return None


def of_function(context: FileContext, call: cst.Call, node: cst.FunctionDef, sent: cst.Call) -> Given:
    """Return what a function that only sends gives the task.

    Args:
        context: The file's.
        call: Adds the function as a job, or decorates it.
        node: The function.
        sent: The call in it.
    """
    own = of_job(context, call) if not isinstance(context.parent(call), cst.Decorator) else ([], {})
    if own != ([], {}) or context.source.code(node.params).strip() or any(arg.star for arg in sent.args):
        return None
    try:
        values = [(arg.keyword.value if arg.keyword else "", _literal(context, arg)) for arg in sent.args]
    except ValueError:
        return None
    return [value for name, value in values if not name], {name: value for name, value in values if name}


def lost_arguments(context: FileContext, given: Given, planned: str) -> str:
    """Return what would be lost with a job, where its entry in the plan says nothing of arguments; empty if nothing."""
    entry = next(_entries(context, planned), None)
    if entry is None or entry.kwargs or given == ([], {}):
        return ""
    shown = "arguments that can't be read" if given is None else f"args={given[0]}, kwargs={given[1]}"
    return f"{shown} here, none in the plan: write them as kwargs of {entry.name}"


def tell_arguments(context: FileContext, node: cst.CSTNode, target: Target | None, given: Given, entry: str) -> None:
    """Tell if the plan's entry has other arguments than the job that it replaces."""
    for planned in _entries(context, context.index.schedule[entry]):
        if given and given != ([], {}) and means_other_arguments(context, target, planned, *given):
            context.leave(node, "SCHEDULE-DIFFERS", f"other arguments here than {planned.name} has in the plan")


def _entries(context: FileContext, planned: str) -> Iterator[ScheduleEntry]:
    return (item for item in context.index.entries if planned == f"replaced by {item.name}")


def _literal(context: FileContext, arg: cst.Arg | None) -> Any:
    """Return a literal.

    Raises:
        ValueError: It is none.
    """
    try:
        return None if arg is None else ast.literal_eval(context.source.code(arg.value))
    except SyntaxError as error:
        raise ValueError(str(error)) from error

"""Schedules and their entries written as calls: ``dict(nightly=dict(task="…", args=[…]))``.

Source: ``celery/beat.py`` (an entry is what ``ScheduleEntry(**entry)`` takes).
"""

from __future__ import annotations

from collections.abc import Callable

import libcst as cst

from codemods.calls.arguments import adapt_literals
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.editing.sequences import remove_items
from codemods.resolve.name_resolution import text_of

_ENTRIES = frozenset({"celery.beat.ScheduleEntry"})


def is_dict_call(context: FileContext, node: cst.CSTNode) -> bool:
    """Tell whether an expression is a call of the builtin ``dict``."""
    return isinstance(node, cst.Call) and context.values.only(node.func) == "builtins.dict"


def rewrite_dict_call(
    context: FileContext,
    node: cst.Call,
    goes: Callable[[str], bool],
    rewrite_entry: Callable[[FileContext, cst.BaseExpression], None],
) -> None:
    """Remove the entries that are replaced or retired and rename the others, where they are given by keyword."""
    going = [arg for arg in node.args if arg.keyword is not None and goes(arg.keyword.value)]
    for arg in node.args:
        if arg.keyword is not None and arg not in going:
            with context.attempt(arg):
                rewrite_entry(context, arg.value)
    if going:
        remove_items(context, node.args, going)


def rewrite_entry_call(context: FileContext, node: cst.Call) -> None:
    """Rename the task of one entry and adapt its arguments.

    Raises:
        LeaveError: The task is retired, or its arguments can't be followed.
    """
    if not is_dict_call(context, node) and context.values.only(node.func) not in _ENTRIES:
        return
    given = {arg.keyword.value: arg for arg in node.args if arg.keyword is not None}
    named = given.get("task")
    target = context.index.named(text_of(named.value) or "") if named is not None else None
    if named is None or target is None or not isinstance(named.value, cst.SimpleString):
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", named, f"{target.name}: {target.reason}")
    args, kwargs = given.get("args"), given.get("kwargs")
    result = adapt_literals(context, (target,), args.value if args else None, kwargs.value if kwargs else None)
    replace_string(context, named.value, target.unified)
    keep = kwargs or args
    if result is None or keep is None or keep.keyword is None:
        return
    context.replace(keep.value, "{" + ", ".join(f'"{name}": {item}' for name, item in result.items()) + "}")
    if keep is args:
        context.replace(keep.keyword, "kwargs")
    elif args:
        remove_items(context, node.args, [args])

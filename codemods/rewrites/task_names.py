"""Names of Celery tasks in strings: ``send_task``, ``signature``, ``app.tasks[…]``, and constants used there.

A name is only rewritten where it is used as one. Source: ``celery/app/base.py`` (``send_task``), ``celery/canvas.py``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments
from codemods.calls.computed_names import list_computed
from codemods.calls.send_options import adapt_options
from codemods.calls.task_naming import adapted_namings, keep_declared, kept_names, literals_of, named_by
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.literals import replace_string
from codemods.protocol import Rewrite


def rewrite(context: FileContext) -> None:
    """Rewrite task names where they are used as names."""
    namings = adapted_namings(context)
    kept = kept_names(context, namings)
    strings = [node for naming in namings for node in naming.strings if node not in kept]
    for path in context.index.name_constants:
        own = path.removeprefix(f"{context.values.where.module}.")
        if own != path and path not in kept:
            strings += literals_of(context, own)
    keep_declared(context, strings, kept)
    for node in dict.fromkeys(strings):
        with context.attempt(node):
            _name(context, node)
    for text in context.tree.strings:
        if isinstance(text, cst.SimpleString) and _is_lookup(context, text):
            with context.attempt(text):
                _looked_up(context, text)
                _name(context, text)
    list_computed(context)


def _name(context: FileContext, node: cst.SimpleString) -> None:
    target = named_by(context, node)
    if target is None:
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", node, f"{target.name}: {target.reason}")
    replace_string(context, node, target.unified)


def _is_lookup(context: FileContext, node: cst.SimpleString) -> bool:
    """``app.tasks["name"]``, ``app.tasks.get("name")`` and comparisons with ``task.name``."""
    parent = context.parent(node)
    if isinstance(parent, cst.Index):
        element = context.parent(parent)
        subscript = context.parent(element) if element is not None else None
        return (
            isinstance(subscript, cst.Subscript)
            and isinstance(subscript.value, cst.Attribute)
            and subscript.value.attr.value == "tasks"
        )
    if isinstance(parent, cst.Arg):
        call = context.parent(parent)
        asks = isinstance(call, cst.Call) and isinstance(call.func, cst.Attribute) and call.func.attr.value == "get"
        return asks and context.source.code(call.func.value).endswith("tasks")  # type: ignore[union-attr]
    if isinstance(parent, cst.Element) and isinstance(context.parent(parent), (cst.Tuple, cst.List, cst.Set)):
        parent = context.parent(context.parent(parent) or parent)
    if isinstance(parent, (cst.Comparison, cst.ComparisonTarget)):
        comparison = parent if isinstance(parent, cst.Comparison) else context.parent(parent)
        assert isinstance(comparison, cst.Comparison)
        operands = [comparison.left, *(item.comparator for item in comparison.comparisons)]
        return any(isinstance(item, cst.Attribute) and item.attr.value in {"name", "task"} for item in operands)
    return False


def _looked_up(context: FileContext, node: cst.SimpleString) -> None:
    """``app.tasks["name"].delay(…)``: its arguments change with the name."""
    target = named_by(context, node)
    here: cst.CSTNode | None = node
    while here is not None and not isinstance(here, (cst.Subscript, cst.Call)):
        here = context.parent(here)
    if target is None or here is None or not target.operations:
        return
    method, call = context.parent(here), None
    if isinstance(method, cst.Attribute):
        call = context.parent(method)
    if not isinstance(method, cst.Attribute) or not isinstance(call, cst.Call):
        if isinstance(method, (cst.Assign, cst.NamedExpr, cst.Arg, cst.Return)):
            raise LeaveError("ESCAPES", here, "the plan changes its arguments")
        return
    if method.attr.value in {"delay", "s", "si", "run", "delay_on_commit"}:
        adapt_arguments(context, call, (target,))
    elif method.attr.value in {"apply_async", "apply", "signature"}:
        adapt_options(context, call, Use(node=method.value, targets=(target,), attribute=method, call=call))
    elif call.args:
        raise LeaveError("ARGUMENTS", call, method.attr.value)


REWRITE = Rewrite(name="task_names", whole_file=rewrite)

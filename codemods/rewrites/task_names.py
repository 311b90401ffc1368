"""Names of Celery tasks in strings: ``send_task``, ``signature``, ``app.tasks[…]``, and constants used there.

A name is only rewritten where it is used as one. Source: ``celery/app/base.py`` (``send_task``), ``celery/canvas.py``.
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.arguments import adapt_arguments, adapt_literals
from codemods.calls.send_options import adapt_options, check_routing
from codemods.editing.context import FileContext, LeaveError, Use
from codemods.editing.literals import argument, replace_string, strings_of
from codemods.editing.sequences import remove_items
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of

_SIGNATURES = frozenset(
    {"celery.signature", "celery.Signature", "celery.canvas.signature", "celery.canvas.Signature", "celery.subtask"}
)


def rewrite(context: FileContext) -> None:
    """Rewrite task names where they are used as names."""
    for call in context.tree.calls:
        if _names_a_task(context, call):
            with context.attempt(call):
                _call(context, call)
    for node in context.tree.strings:
        if isinstance(node, cst.SimpleString) and _is_lookup(context, node):
            with context.attempt(node):
                _looked_up(context, node)
                _name(context, node)


def _names_a_task(context: FileContext, call: cst.Call) -> bool:
    if isinstance(call.func, cst.Attribute) and call.func.attr.value in {"send_task", "signature", "AsyncResult"}:
        return True
    return context.values.only(call.func) in _SIGNATURES


def _call(context: FileContext, call: cst.Call) -> None:
    named = argument(call, 0, "name") or argument(call, 0, "task")
    if named is None:
        return
    if isinstance(named.value, cst.FormattedString):
        if any(word in context.source.code(named.value) for word in context.index.modules):
            raise LeaveError("COMPUTED-NAME", named)
        return
    strings = strings_of(context, named.value)
    targets = [target for target in (_target(context, node) for node in strings) if target is not None]
    if not targets:
        return
    for target in targets:
        if target.retired:
            raise LeaveError("RETIRED-TASK", call, f"{target.name}: {target.reason}")
    check_routing(context, {arg.keyword.value: arg for arg in call.args if arg.keyword is not None})
    args, kwargs = argument(call, 1, "args"), argument(call, 2, "kwargs")
    result = adapt_literals(context, targets, args.value if args else None, kwargs.value if kwargs else None)
    for node in strings:
        _name(context, node)
    if result is None or not (args or kwargs):
        return
    text = "kwargs={" + ", ".join(f'"{name}": {value}' for name, value in result.items()) + "}"
    first = args or kwargs
    assert first is not None
    if any(arg.keyword is None for arg in call.args[3:]):
        raise LeaveError("ARGUMENTS", call)
    context.replace(first, text)
    if args and kwargs:
        remove_items(context, call.args, [kwargs])


def _target(context: FileContext, node: cst.SimpleString) -> Target | None:
    text = text_of(node)
    return context.index.named(text) if text else None


def _name(context: FileContext, node: cst.SimpleString) -> None:
    target = _target(context, node)
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
    target = _target(context, node)
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

"""Unified tasks that are made of the legacy ones: what they call stays as it is, or they would call themselves.

That is a use in the unified module itself, and a call in a function that the unified module names.
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError, Use
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import enclosing

_SENDS = frozenset(
    {"send", "send_with_options", "message", "message_with_options", "send_async", "delay", "apply_async"}
    | {"s", "si", "signature", "subtask", "delay_on_commit", "apply_async_on_commit"}
)
_BODIES = frozenset({"fn", "run", "__wrapped__"})


def delegates(context: FileContext, use: Use) -> bool:
    """Tell whether a use is what a unified task is made of.

    Raises:
        LeaveError: It has to be changed by hand: it sends the legacy task, or that goes with its module.
    """
    at_home = any(is_home(context, target) for target in use.targets)
    if not at_home and not _named_by_unified(context, use):
        return False
    if at_home and use.attribute is not None and use.attribute.attr.value in _SENDS:
        raise LeaveError("UNIFIED-SENDS", use.node, use.target.name)
    check_stays(context, use.target, use.node)
    return True


def is_home(context: FileContext, target: Target) -> bool:
    """Tell whether the file is the module of a task's successor."""
    home = target.unified_path.rpartition(".")[0]
    return not target.retired and not target.in_place and home == context.values.where.module


def check_stays(context: FileContext, target: Target, node: cst.CSTNode) -> None:
    """Refuse what unified tasks are made of if its module goes.

    Raises:
        LeaveError: The plan retires it.
    """
    if target.path.rpartition(".")[0] in context.index.retired_modules:
        raise LeaveError("DELEGATES", node, target.name)


def _named_by_unified(context: FileContext, use: Use) -> bool:
    """True for a call of the legacy function in a function, method or class that a unified module names."""
    called = use.call is not None and (use.attribute is None or use.attribute.attr.value in _BODIES)
    if not called or use.target.in_place or use.target.retired:
        return False
    top: cst.CSTNode = use.node
    while (here := enclosing(context.tree, top, (cst.FunctionDef, cst.ClassDef))) is not None:
        top = here
    name = top.name.value if isinstance(top, (cst.FunctionDef, cst.ClassDef)) else ""
    return bool(name) and f"{context.values.where.module}.{name}" in context.index.named_by_unified

"""Names of tasks that are computed: a legacy module with something put behind it, however that is written.

``f"legacy.jobs.{name}"``, ``"legacy.jobs." + name``, ``"legacy.jobs.%s" % name``, ``"legacy.jobs.{}".format(name)``.
"""

from __future__ import annotations

import re

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.literals import argument
from codemods.resolve.name_resolution import text_of
from migrator.wire.message import System

_PLACEHOLDER = re.compile(r"%[(\w]|\{|$")


def list_computed(context: FileContext) -> None:
    """List the expressions of a file that compute the name of a legacy task."""
    modules = _moved(context)
    listed: set[int] = set()
    for node in context.tree.strings:
        module = _started(node, modules)
        if module and not isinstance(context.parent(node), cst.Expr):
            listed.add(context.source.line(node))
            context.leave(node, "COMPUTED-NAME", f"{module}.…")
    if not any(t.system is System.CELERY and t.name != t.unified for t in context.index.targets.values()):
        return
    for call in context.tree.calls:
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "send_task":
            named = argument(call, 0, "name")
            if named is not None and _computes(named.value) and context.source.line(named) not in listed:
                context.leave(named, "COMPUTED-NAME")


def _moved(context: FileContext) -> frozenset[str]:
    """Return the modules of tasks that get another name or place."""
    targets = context.index.targets.values()
    moved = {t.path.rpartition(".")[0] for t in targets if not t.in_place}
    return frozenset(module for module in moved if module)


def _started(node: cst.SimpleString | cst.FormattedString, modules: frozenset[str]) -> str:
    """Return the module with which a text starts that is completed elsewhere; empty if there is none."""
    if isinstance(node, cst.FormattedString):
        first = node.parts[0] if len(node.parts) > 1 else None
        text = first.value if isinstance(first, cst.FormattedStringText) else ""
    else:
        text = text_of(node) or ""
    for module in modules if "." in text else ():
        if text.startswith(f"{module}.") and _PLACEHOLDER.match(text, len(module) + 1):
            return module
    return ""


def _computes(node: cst.BaseExpression) -> bool:
    """True for a text that is put together."""
    if isinstance(node, cst.BinaryOperation):
        return isinstance(node.operator, (cst.Add, cst.Modulo))
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Attribute) and node.func.attr.value in {"format", "join", "replace"}
    return isinstance(node, cst.FormattedString) and any(
        isinstance(part, cst.FormattedStringExpression) for part in node.parts
    )

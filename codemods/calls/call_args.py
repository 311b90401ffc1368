"""What tests read from a mock's recorded calls: ``call_args.kwargs["name"]``, ``call_args == call(…)`` and the like.

Where the plan changes a task's arguments every one of them is a keyword afterwards, so a position becomes a name, and
a wrapped value is the only item of its list. Source: ``unittest/mock.py`` (``call_args`` is ``(args, kwargs)``).
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from codemods.editing.context import FileContext
from codemods.plan.plan_index import Target
from codemods.resolve.name_resolution import text_of
from codemods.schedules.schedule_text import quoted
from migrator.plan.arguments import by_position
from migrator.plan.model import OperationKind

CALL = frozenset({"unittest.mock.call", "mock.call"})
Change = tuple[cst.CSTNode, str]


def compared_calls(context: FileContext, node: cst.BaseExpression) -> list[cst.Call]:
    """Return the ``call(…)`` objects that an expression is compared with; empty if it is compared with more."""
    parent = context.parent(node)
    comparison = context.parent(parent) if isinstance(parent, cst.ComparisonTarget) else parent
    if not isinstance(comparison, cst.Comparison) or len(comparison.comparisons) != 1:
        return []
    operands = [comparison.left, comparison.comparisons[0].comparator]
    other = next(operand for operand in operands if operand is not node)
    items = [other] if isinstance(other, cst.Call) else context.values.items(other)
    calls = [item for item in items if isinstance(item, cst.Call) and context.values.only(item.func) in CALL]
    return calls if len(calls) == len(items) else []


def rewrite_reads(context: FileContext, node: cst.Attribute, target: Target) -> bool:
    """Rewrite what is read from ``mock.call_args``; False, and nothing changed, if that can't be followed."""
    found = _changes(context, node, target)
    if found is None:
        return False
    for place, text in found:
        context.replace(place, text)
    return True


def _changes(context: FileContext, node: cst.Attribute, target: Target) -> list[Change] | None:
    if node.attr.value not in {"call_args", "await_args"}:
        return None
    base = context.source.code(node)
    parent = context.parent(node)
    if isinstance(parent, cst.Attribute) and parent.attr.value in {"args", "kwargs"}:
        return _part(context, parent, parent.attr.value, f"{base}.kwargs", target)
    if isinstance(parent, cst.Subscript) and parent.value is node and (index := _integer(parent)) in {0, 1}:
        return _part(context, parent, "args" if index == 0 else "kwargs", f"{base}.kwargs", target)
    if isinstance(parent, cst.Assign) and parent.value is node and len(parent.targets) == 1:
        pair = parent.targets[0].target
        names = [e.value for e in pair.elements] if isinstance(pair, (cst.Tuple, cst.List)) else []
        if len(names) == 2 and all(isinstance(name, cst.Name) for name in names):
            return _pair(context, names, target)
    return None


def _pair(context: FileContext, names: list[cst.BaseExpression], target: Target) -> list[Change] | None:
    """``args, kwargs = double.call_args``."""
    found: list[Change] = []
    keywords = context.source.code(names[1])
    for name, kind in zip(names, ("args", "kwargs"), strict=True):
        for load in _loads(context, name):
            change = _item(context, load, kind, keywords, target)
            if change is None:
                return None
            found.append(change)
    return found


def _part(
    context: FileContext, node: cst.BaseExpression, kind: str, keywords: str, target: Target
) -> list[Change] | None:
    parent = context.parent(node)
    if isinstance(parent, cst.Assign) and kind == "kwargs" and len(parent.targets) == 1:
        name = parent.targets[0].target
        found = [_item(context, load, kind, load.value, target) for load in _loads(context, name)]
        return None if None in found else [change for change in found if change is not None]
    change = _item(context, node, kind, keywords, target)
    return None if change is None else [change]


def _item(context: FileContext, node: cst.BaseExpression, kind: str, keywords: str, target: Target) -> Change | None:
    """Return how ``kwargs["name"]`` or ``args[0]`` reads after the rewrite; None if that isn't known."""
    parent = context.parent(node)
    if not isinstance(parent, cst.Subscript) or parent.value is not node:
        return None
    name: str | None = None
    if kind == "kwargs":
        index = parent.slice[0].slice if len(parent.slice) == 1 else None
        name = text_of(index.value) if isinstance(index, cst.Index) else None
    elif (position := _integer(parent)) is not None and position < len(by_position(target.parameters)):
        name = by_position(target.parameters)[position]
    if name is None:
        return None
    for operation in target.operations:
        if operation.name != name:
            continue
        if operation.kind is OperationKind.RENAME:
            return parent, f"{keywords}[{quoted(operation.to)}]"
        if operation.kind is OperationKind.WRAP:
            return parent, f"{keywords}[{quoted(operation.to)}][0]"
        return None
    return parent, f"{keywords}[{quoted(name)}]"


def _loads(context: FileContext, name: cst.CSTNode) -> Iterator[cst.Name]:
    yield from context.tree.reads_of(name)


def _integer(node: cst.Subscript) -> int | None:
    index = node.slice[0].slice if len(node.slice) == 1 else None
    value = index.value if isinstance(index, cst.Index) else None
    return int(value.value) if isinstance(value, cst.Integer) else None

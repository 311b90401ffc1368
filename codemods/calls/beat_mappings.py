"""The dicts that make up a beat schedule: each entry becomes the plan's, goes or gets a unified name; others are added.

Source: ``celery/beat.py`` (entry keys).
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.added_entries import add_entries
from codemods.calls.beat_entries import Item, become, is_dict_call, items_of, remove_from, rename, rewrite_entry
from codemods.editing.context import FileContext
from codemods.editing.forgetting import forget
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import BindingKind
from migrator.inventory.beat_entries import is_schedule_setting
from migrator.plan.model import ScheduleEntry

#: The mappings of a file that are rewritten, and whether that left nothing of them.
Done = dict[cst.CSTNode, bool]


def is_schedule(node: cst.CSTNode) -> bool:
    """Tell whether an expression names a beat schedule."""
    if isinstance(node, cst.Name):
        return is_schedule_setting(node.value)
    if isinstance(node, cst.Subscript) and len(node.slice) == 1 and isinstance(node.slice[0].slice, cst.Index):
        return is_schedule_setting(text_of(node.slice[0].slice.value))
    return isinstance(node, cst.Attribute) and is_schedule_setting(node.attr.value)


def fate(context: FileContext, name: str) -> tuple[ScheduleEntry | None, bool]:
    """Return the plan's entry that a legacy entry of this file becomes, and whether it goes."""
    legacy = f"{context.values.where.module}:{name}"
    kept = context.index.beat.kept.get(legacy)
    entry = next((item for item in context.index.entries if item.name == kept), None)
    return entry, bool(name) and entry is None and legacy in context.index.schedule


def rewrite_value(context: FileContext, value: cst.BaseExpression, done: Done) -> bool:
    """Rewrite the mappings that make up a schedule; True if nothing is left of it."""
    found = _mappings(context, value)
    for mapping in found:
        if mapping not in done:
            done[mapping] = rewrite_mapping(context, mapping)
    return not isinstance(value, cst.BinaryOperation) and bool(found) and all(done[mapping] for mapping in found)


def _mappings(context: FileContext, node: cst.BaseExpression, depth: int = 0) -> list[cst.Dict | cst.Call]:
    """Return the dicts that make up a schedule, literals and calls: itself, constants, unpacked parts."""
    inner: list[cst.BaseExpression] = []
    found: list[cst.Dict | cst.Call] = []
    if isinstance(node, cst.Name):
        inner = [b.value for b in context.values.bindings(node) if b.value is not None and b.kind is BindingKind.ASSIGN]
    elif isinstance(node, cst.BinaryOperation):
        inner = [node.left, node.right]
    elif isinstance(node, cst.Dict):
        found, inner = [node], [e.value for e in node.elements if isinstance(e, cst.StarredDictElement)]
    elif isinstance(node, cst.Call) and is_dict_call(context, node):
        found, inner = [node], [arg.value for arg in node.args if arg.keyword is None and arg.star != "*"]
    return found + [m for value in inner if depth < 5 for m in _mappings(context, value, depth + 1)]


def rewrite_mapping(context: FileContext, node: cst.Dict | cst.Call) -> bool:
    """Rewrite, rename and remove the entries of one mapping, and add those that it lacks; True if none is left."""
    items = items_of(node)
    going: list[Item] = []
    for item in items:
        if not item.name:
            continue
        planned, goes = fate(context, item.name)
        if goes:
            going.append(item)
            continue
        with context.attempt(item.holder):
            if planned is None:
                rewrite_entry(context, item.value)
            else:
                become(context, item.value, planned)
                rename(context, item, planned.name)
    added = isinstance(node, cst.Dict) and _is_home(context, node)
    if going and not (added and len(going) == len(items)):
        remove_from(context, node, going)
    elif going:
        forget(context, [context.source.span(item.value) for item in going])
    if isinstance(node, cst.Dict) and added:
        add_entries(context, node, [item for item in items if item not in going])
    return bool(going) and len(going) == len(items) and not added


def _is_home(context: FileContext, node: cst.Dict) -> bool:
    places = context.index.beat
    here = places.home is not None and places.home.module == context.values.where.module
    return here and bool(places.added) and context.source.line(node) == places.line

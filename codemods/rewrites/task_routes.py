"""Tables of routes and annotations: legacy names and queues in them become the unified ones, however they are written.

A dict, a list of pairs or of dicts, ``dict([…])``, constants and unions of them, ``routes["name"] = …``,
``routes.update(…)``, ``routes.setdefault("name", …)``. Source: ``celery/app/routes.py`` (``prepare``, ``MapRoute``).
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from codemods.calls.beat_entries import is_dict_call
from codemods.calls.routes import route
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of

_TABLES = frozenset(
    {"CELERY_TASK_ROUTES", "CELERY_ROUTES", "task_routes", "CELERY_TASK_ANNOTATIONS", "task_annotations"}
)
_DEPTH = 5
#: A name of a task, what it is given, and whether the table is one of annotations.
Entry = tuple[cst.SimpleString, cst.BaseExpression, bool]


def rewrite(context: FileContext) -> None:
    """Rewrite the tables of a file."""
    done: set[cst.CSTNode] = set()
    for key, value, annotates in _entries(context):
        if key in done:
            continue
        done.add(key)
        with context.attempt(key):
            _rewrite_entry(context, key, value, annotations=annotates)


def _rewrite_entry(
    context: FileContext, key: cst.SimpleString, value: cst.BaseExpression, *, annotations: bool
) -> None:
    text = text_of(key) or ""
    target = context.index.named(text)
    if target is not None and target.retired:
        raise LeaveError("RETIRED-TASK", key, f"{target.name}: {target.reason}")
    head = text.split("*")[0].rstrip(".")
    if "*" in text and head and any(module.startswith(head) for module in context.index.modules):
        raise LeaveError("LEGACY-STRING", key, text)
    if target is not None:
        replace_string(context, key, target.unified)
        if not annotations:
            route(context, value, target)


def _entries(context: FileContext) -> Iterator[Entry]:
    for assignment in context.tree.assignments:
        targets = [t.target for t in assignment.targets] if isinstance(assignment, cst.Assign) else [assignment.target]
        for target in targets:
            if assignment.value is None:
                continue
            if name := _table(target):
                yield from _table_entries(context, assignment.value, name)
            elif isinstance(target, cst.Subscript) and (name := _table(target.value)):
                key = _key(target)
                if isinstance(key, cst.SimpleString):
                    yield key, assignment.value, _annotates(name)
    for call in context.tree.calls:
        yield from _called(context, call)


def _called(context: FileContext, call: cst.Call) -> Iterator[Entry]:
    """Entries that a call gives: ``conf.update(task_routes=…)``, ``routes.update(…)``, ``routes.setdefault(…)``."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value in _TABLES:
            yield from _table_entries(context, arg.value, arg.keyword.value)
    if not isinstance(call.func, cst.Attribute):
        return
    method, name = call.func.attr.value, _table(call.func.value)
    plain = [arg.value for arg in call.args if arg.keyword is None and not arg.star]
    if method == "update" and plain:
        if name:
            yield from _table_entries(context, plain[0], name)
        elif isinstance(plain[0], cst.Dict):
            for element in plain[0].elements:
                if isinstance(element, cst.DictElement) and (inner := text_of(element.key) or "") in _TABLES:
                    yield from _table_entries(context, element.value, inner)
    elif method == "setdefault" and name and len(plain) > 1 and isinstance(plain[0], cst.SimpleString):
        yield plain[0], plain[1], _annotates(name)


def _table_entries(context: FileContext, node: cst.BaseExpression, name: str, depth: int = 0) -> Iterator[Entry]:
    """Yield the entries of what a table is made of."""
    parts: list[cst.BaseExpression] = []
    if isinstance(node, cst.Dict):
        for element in node.elements:
            if isinstance(element, cst.DictElement) and isinstance(element.key, cst.SimpleString):
                yield element.key, element.value, _annotates(name)
            elif isinstance(element, cst.StarredDictElement):
                parts.append(element.value)
    elif isinstance(node, (cst.List, cst.Tuple)):
        if len(node.elements) > 1 and isinstance(node.elements[0].value, cst.SimpleString):
            yield node.elements[0].value, node.elements[1].value, _annotates(name)
            return
        parts = [element.value for element in node.elements]
    elif isinstance(node, cst.Call) and is_dict_call(context, node):
        parts = [arg.value for arg in node.args if arg.keyword is None]
    elif isinstance(node, cst.BinaryOperation):
        parts = [node.left, node.right]
    elif isinstance(node, cst.Name):
        parts = [b.value for b in context.values.bindings(node) if b.value is not None]
    for part in parts if depth < _DEPTH else []:
        yield from _table_entries(context, part, name, depth + 1)


def _table(node: cst.BaseExpression) -> str:
    """Return the setting that an expression names; empty for another."""
    if isinstance(node, cst.Subscript):
        key = _key(node)
        name = (text_of(key) or "") if key is not None else ""
    else:
        name = node.value if isinstance(node, cst.Name) else node.attr.value if isinstance(node, cst.Attribute) else ""
    return name if name in _TABLES else ""


def _key(node: cst.Subscript) -> cst.BaseExpression | None:
    index = node.slice[0].slice if len(node.slice) == 1 else None
    return index.value if isinstance(index, cst.Index) else None


def _annotates(name: str) -> bool:
    return "annotations" in name.lower()


REWRITE = Rewrite(name="task_routes", whole_file=rewrite)

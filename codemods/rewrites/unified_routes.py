"""Where tasks of Celery stay, each unified task is sent to its queue by name: a default queue would hold for all.

``CELERY_TASK_ROUTES`` is completed where the settings have it, in the plan's module, in one that it imports everything
from or in a class of django-configurations, and written beside the other settings of Celery where they don't.
Source: ``celery/app/routes.py`` (``MapRoute``: a whole name goes before a pattern),
https://django-configurations.readthedocs.io (a class whose attributes are the settings).
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import Binding, BindingKind, Scope
from migrator.wire.message import System

_COMMENT = "# --- the queues of unified tasks; tasks that stay keep theirs ---"


def rewrite(context: FileContext) -> None:
    """Complete the routes where the settings have them."""
    index, module = context.index, context.values.where.module
    place, name = index.beat.routes, index.beat.routes_setting
    if not index.keeps(System.CELERY) or module != (place.module if place is not None else index.settings):
        return
    queues = {target.unified: target.queue for target in index.targets.values() if target.unified}
    scopes = _scopes(context)
    with context.attempt(context.source.module):
        if place is None:
            raise LeaveError("SETTINGS", None, f"{name}: nothing here has settings of Celery")
        found = [binding for scope in scopes.values() for binding in scope.bindings.get(name, [])]
        for binding in found:
            _complete(context, binding, queues)
        if not found:
            _write(context, scopes[place.owner], queues)


def _scopes(context: FileContext) -> dict[str, Scope]:
    """Return the scopes whose names are settings: the module, under an empty name, and its classes."""
    classes = {node: node.name.value for node in context.source.module.body if isinstance(node, cst.ClassDef)}
    found = {
        classes[s.node]: s
        for s in context.tree.scopes.values()
        if isinstance(s.node, cst.ClassDef) and s.node in classes
    }
    return {"": context.tree.module, **found}


def _complete(context: FileContext, binding: Binding, queues: dict[str, str]) -> None:
    value = binding.value
    if binding.kind is not BindingKind.ASSIGN or not isinstance(value, cst.Dict):
        raise LeaveError(
            "SETTINGS", binding.node, f"{context.index.beat.routes_setting} is no literal: add {', '.join(queues)}"
        )
    legacy = {target.name: target.unified for target in context.index.targets.values()}
    names = [text_of(e.key) or "" for e in value.elements if isinstance(e, cst.DictElement)]
    missing = {name: queue for name, queue in queues.items() if name not in {legacy.get(n, n) for n in names}}
    if not missing:
        return
    start = context.source.span(value)[0] + 1
    indent = _indent(context, binding.node)
    lines = "".join(context.source.newline() + indent + line for line in _entries(missing))
    wrapped = context.source.text[start : start + 1] in (b"\n", b"\r")
    closing = "" if wrapped else context.source.newline() + indent + "    " * bool(value.elements)
    context.replace_span(start, start, lines + closing)


def _write(context: FileContext, scope: Scope, queues: dict[str, str]) -> None:
    """Write the setting behind everything else of its scope."""
    newline, text = context.source.newline(), context.source.text
    lines = [_COMMENT, f"{context.index.beat.routes_setting} = {{", *_entries(queues), "}"]
    if isinstance(scope.node, cst.ClassDef):
        last = scope.node.body.body[-1]
        end = text.find(b"\n", context.source.span(last)[1])
        indent = _indent(context, last)
        written = "".join(newline + indent + line for line in lines)
        at = len(text) if end < 0 else end
        context.replace_span(at, at, written)
        return
    lead = "" if not text or text.endswith(b"\n") else newline
    context.replace_span(len(text), len(text), lead + newline + newline.join(lines) + newline)


def _entries(queues: dict[str, str]) -> list[str]:
    return [f'    "{name}": {{"queue": "{queue}"}},' for name, queue in queues.items()]


def _indent(context: FileContext, node: cst.CSTNode) -> str:
    """Return the white space before a node's line."""
    start = context.source.span(node)[0]
    line = context.source.text[context.source.text.rfind(b"\n", 0, start) + 1 : start]
    return line.decode("utf-8") if not line.strip() else ""


REWRITE = Rewrite(name="unified_routes", whole_file=rewrite)

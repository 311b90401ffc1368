"""The project's settings: the queue, the unified app, and the plan's schedule if it stands nowhere else.

In the settings module that the plan names, in one that it imports everything from, or in a class of
django-configurations there; for those of Dramatiq see :mod:`codemods.rewrites.dramatiq_settings`.
Source: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import libcst as cst

from codemods.calls.added_entries import added_lines
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.new_imports import add_imports
from codemods.install.app_settings import app_settings
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import BindingKind, Scope
from migrator.wire.message import System


def rewrite(context: FileContext) -> None:
    """Complete the settings."""
    module, places = context.values.where.module, context.index.beat
    if places.problem_at.partition(":")[0] == module or (places.problem and module == context.index.settings):
        context.leave(_at(context, places.problem_at), "SETTINGS", places.problem)
    tails: dict[str, list[str]] = {}
    if places.queue is not None and places.queue.module == module:
        with context.attempt(context.source.module):
            _queue(context, places.queue.owner, tails)
    if places.home is not None and places.home.module == module and not places.line:
        lines = [f"{places.schedule_setting} = {{", *added_lines(context, context.source.module), "}"]
        tails.setdefault(places.home.owner, []).extend(lines)
    if places.apps is not None and places.apps.module == module:
        with context.attempt(context.source.module):
            _installed(context, places.apps.owner)
    elif places.apps is None and module == context.index.settings and context.index.installed_package:
        what = f"INSTALLED_APPS: add {context.index.installed_package!r}"
        context.leave(context.source.module, "SETTINGS", what)
    if module == context.index.settings and (lines := app_settings(context)):
        tails[""] = [*lines, *tails.get("", [])]
    for owner, lines in tails.items():
        _append(context, owner, lines)
    if tails:
        add_imports(context, None, instead=False)


def _at(context: FileContext, place: str) -> cst.CSTNode:
    """Return the first statement's node of a line of this file; the module if there is none."""
    module, _, line = place.partition(":")
    if module == context.values.where.module and line.isdigit():
        for assignment in context.tree.assignments:
            if context.source.line(assignment) == int(line):
                return assignment
    return context.source.module


def _scope(context: FileContext, owner: str) -> Scope:
    """Return the scope of the module, or of one of its classes."""
    if not owner:
        return context.tree.module
    nodes = [d for d in context.tree.definitions if isinstance(d, cst.ClassDef) and d.name.value == owner]
    return next(s for s in context.tree.scopes.values() if s.node in nodes)


def _assigned(context: FileContext, owner: str, name: str) -> cst.BaseExpression | None:
    """Return the last value of a setting, or None if it isn't set here.

    Raises:
        LeaveError: It is set in a way that can't be followed.
    """
    found = _scope(context, owner).bindings.get(name, [])
    if not found:
        return None
    last = found[-1]
    if len(found) != 1 or last.kind is not BindingKind.ASSIGN or last.value is None:
        raise LeaveError("SETTINGS", last.node, f"{name} is set in several ways")
    return last.value


def _queue(context: FileContext, owner: str, tails: dict[str, list[str]]) -> None:
    queue, name = context.index.unified_queue, context.index.beat.queue_setting
    if context.index.keeps(System.CELERY):
        return  # It would hold for the tasks that stay as well: see unified_routes.
    value = _assigned(context, owner, name)
    if not queue:
        return
    if value is None:
        tails.setdefault(owner, []).append(f'{name} = "{queue}"')
    elif text_of(value) in context.index.legacy_queues:
        context.replace(value, f'"{queue}"')
    elif text_of(value) != queue:
        raise LeaveError("SETTINGS", value, f"{name} is not {queue!r}")


def _installed(context: FileContext, owner: str) -> None:
    """Add the unified app to INSTALLED_APPS unless it is there."""
    app = context.index.installed_package
    if not app:
        return
    found = _scope(context, owner).bindings.get("INSTALLED_APPS", [])
    literals = [b.value for b in found if isinstance(b.value, (cst.List, cst.Tuple))]
    names = [text_of(e.value) or "" for literal in literals for e in literal.elements]
    if any(name == app or name.startswith(f"{app}.apps.") for name in names):
        return
    if not literals or not literals[0].elements:
        raise LeaveError("SETTINGS", None, f"INSTALLED_APPS: add {app!r}")
    last = literals[0].elements[-1]
    start = context.source.span(literals[0].elements[0].value)[0]
    opening = context.source.text.rfind(b"\n", 0, start) + 1
    indent = context.source.text[opening:start].decode("utf-8")
    separator = f",{context.source.newline()}{indent}" if not indent.strip() and indent else ", "
    context.insert_after(last.value, f'{separator}"{app}"')


def _append(context: FileContext, owner: str, lines: list[str]) -> None:
    newline = context.source.newline()
    text = context.source.text
    comment = "# --- unified task queue: what runs when, and on which queue ---"
    if owner:
        body = next(d for d in context.tree.definitions if isinstance(d, cst.ClassDef) and d.name.value == owner).body
        last = body.body[-1]
        start, end = context.source.span(last)
        indent = text[text.rfind(b"\n", 0, start) + 1 : start].decode("utf-8")
        closing = text.find(b"\n", end)
        end = len(text) if closing < 0 else closing
        context.replace_span(end, end, "".join(f"{newline}{indent}{line}" for line in [comment, *lines]))
        return
    lead = "" if not text or text.endswith(b"\n") else newline
    written = newline.join(["", comment, *lines, ""])
    context.replace_span(len(text), len(text), lead + written)


REWRITE = Rewrite(name="settings", whole_file=rewrite)

"""The project's settings: the whole schedule of the plan as ``CELERY_BEAT_SCHEDULE``, the queue, the unified app.

Only in the settings module that the plan names; for those of Dramatiq see :mod:`codemods.rewrites.dramatiq_settings`.
Source: https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import libcst as cst

from codemods.editing.context import FileContext, LeaveError
from codemods.editing.new_imports import add_imports
from codemods.install.app_settings import app_settings
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from codemods.schedules.schedule_text import schedule_entries
from codemods.syntax.scopes import BindingKind
from migrator.wire.message import System


def rewrite(context: FileContext) -> None:
    """Complete the settings module."""
    if not context.index.settings or context.values.where.module != context.index.settings:
        return
    tail: list[str] = []
    with context.attempt(context.source.module):
        _schedule(context, tail)
    with context.attempt(context.source.module):
        _queue(context, tail)
    with context.attempt(context.source.module):
        _installed(context)
    tail[:0] = app_settings(context)
    if tail:
        _append(context, tail)
    add_imports(context, None, instead=False)


def _assigned(context: FileContext, name: str) -> cst.BaseExpression | None:
    """Return the last value of a setting, or None if it isn't set here.

    Raises:
        LeaveError: It is set in a way that can't be followed.
    """
    found = context.tree.module.bindings.get(name, [])
    if not found:
        return None
    last = found[-1]
    if len(found) != 1 or last.kind is not BindingKind.ASSIGN or last.value is None:
        raise LeaveError("SETTINGS", last.node, f"{name} is set in several ways")
    return last.value


def _schedule(context: FileContext, tail: list[str]) -> None:
    wanted = context.index.entries
    if not wanted:
        return
    value = _assigned(context, "CELERY_BEAT_SCHEDULE")
    crontab = _crontab(context) if any(entry.crontab for entry in wanted) else ""
    newline = context.source.newline()
    if value is None:
        lines = schedule_entries(wanted, crontab)
        tail.append(newline.join(["CELERY_BEAT_SCHEDULE = {", *lines, "}"]))
        return
    if not isinstance(value, cst.Dict) or any(not isinstance(e, cst.DictElement) for e in value.elements):
        raise LeaveError("SETTINGS", value, "CELERY_BEAT_SCHEDULE is no literal")
    names = {entry.name for entry in wanted}
    kept = []
    for element in value.elements:
        assert isinstance(element, cst.DictElement)
        name = text_of(element.key)
        if name not in names and f"{context.values.where.module}:{name}" not in context.index.schedule:
            kept.append(f"    {context.source.code(element.key)}: {context.source.code(element.value)},")
    text = newline.join(["{", *kept, *schedule_entries(wanted, crontab), "}"])
    # This module owns the whole schedule: edits of other rewrites to single entries are dropped.
    context.result.edits.take(context.source.span(value), context.source.text)
    if not _same(context, value, text):
        context.replace(value, text)


def _same(context: FileContext, value: cst.Dict, text: str) -> bool:
    """True if two dict literals mean the same."""
    import ast

    mine = ast.dump(ast.parse(context.source.code(value), mode="eval"))
    return mine == ast.dump(ast.parse(text, mode="eval"))


def _crontab(context: FileContext) -> str:
    """Return the name under which ``crontab`` can be used, and import it if it isn't imported."""
    for name, found in context.tree.module.bindings.items():
        if any(b.statement is not None and context.values.imported(b) == "celery.schedules.crontab" for b in found):
            return name
    return context.local_import("celery.schedules", "crontab")


def _queue(context: FileContext, tail: list[str]) -> None:
    queue = context.index.unified_queue
    if context.index.keeps(System.CELERY):
        return  # It would hold for the tasks that stay as well: see unified_routes.
    value = _assigned(context, "CELERY_TASK_DEFAULT_QUEUE")
    if not queue:
        return
    if value is None:
        tail.insert(0, f'CELERY_TASK_DEFAULT_QUEUE = "{queue}"')
    elif text_of(value) in context.index.legacy_queues:
        context.replace(value, f'"{queue}"')
    elif text_of(value) != queue:
        raise LeaveError("SETTINGS", value, f"CELERY_TASK_DEFAULT_QUEUE is not {queue!r}")


def _installed(context: FileContext) -> None:
    """Add the unified app to INSTALLED_APPS unless it is there."""
    app = context.index.installed_package
    if not app:
        return
    found = context.tree.module.bindings.get("INSTALLED_APPS", [])
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


def _append(context: FileContext, tail: list[str]) -> None:
    newline = context.source.newline()
    text = context.source.text
    lead = "" if not text or text.endswith(b"\n") else newline
    comment = "# --- unified task queue: what runs when, and on which queue ---"
    context.replace_span(len(text), len(text), f"{lead}{newline}{comment}{newline}{newline.join(tail)}{newline}")


REWRITE = Rewrite(name="settings", whole_file=rewrite)

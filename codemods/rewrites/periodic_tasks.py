"""Code that creates or queries django_celery_beat rows: ``PeriodicTask(task=…)``, ``PeriodicTask.objects.get(task=…)``.

The task gets its unified name, and arguments the plan's changes, where they are literal JSON or ``json.dumps`` of
literals. Rows that are in the database already are the cutover's (:mod:`migrator.steps.hand_over_schedule`).
Source: ``django_celery_beat/models.py`` (``args`` and ``kwargs`` are JSON in text), Django's ``get_or_create``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import libcst as cst

from codemods.calls.arguments import adapt_literals, as_mapping
from codemods.editing.context import FileContext, LeaveError
from codemods.editing.literals import replace_string
from codemods.editing.sequences import remove_items
from codemods.plan.plan_index import Target
from codemods.protocol import Rewrite
from codemods.resolve.name_resolution import text_of
from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt

_ROW = "django_celery_beat.models.PeriodicTask"
_NESTED = frozenset({"defaults", "create_defaults"})
_DUMPS = "json.dumps"


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a row as it is written: an argument of a call, or an element of a dict."""

    holder: cst.Arg | cst.DictElement
    value: cst.BaseExpression


def rewrite(context: FileContext) -> None:
    """Rewrite the rows that a file creates or queries."""
    for call in context.tree.calls:
        called = context.values.only(call.func)
        if called != _ROW and not called.startswith(f"{_ROW}.objects."):
            continue
        groups = [({a.keyword.value: _Field(a, a.value) for a in call.args if a.keyword}, call.args)]
        for arg in call.args:
            if arg.keyword and arg.keyword.value in _NESTED and isinstance(arg.value, cst.Dict):
                items = [e for e in arg.value.elements if isinstance(e, cst.DictElement)]
                groups.append(({text_of(e.key) or "": _Field(e, e.value) for e in items}, arg.value.elements))  # type: ignore[arg-type]
        for fields, siblings in groups:
            if "task" in fields:
                with context.attempt(fields["task"].holder):
                    _row(context, fields, siblings)


def _row(context: FileContext, fields: dict[str, _Field], siblings: object) -> None:
    named = fields["task"].value
    target = context.index.named(text_of(named) or "")
    if target is None or not isinstance(named, cst.SimpleString):
        return
    if target.retired:
        raise LeaveError("RETIRED-TASK", named, f"{target.name}: {target.reason}")
    given = [fields[name] for name in ("args", "kwargs") if name in fields]
    if target.operations and given:
        text = _arguments(context, target, fields.get("args"), fields.get("kwargs"))
        keep = given[-1].holder
        if isinstance(keep, cst.Arg):
            context.replace(keep.value, text)
            if "kwargs" not in fields and keep.keyword:
                context.replace(keep.keyword, "kwargs")
        else:
            context.replace(keep.value, text)
            if "kwargs" not in fields and isinstance(keep.key, cst.SimpleString):
                replace_string(context, keep.key, "kwargs")
        if len(given) > 1:
            remove_items(context, siblings, [given[0].holder])  # type: ignore[arg-type]
    replace_string(context, named, target.unified)


def _arguments(context: FileContext, target: Target, args: _Field | None, kwargs: _Field | None) -> str:
    """Return the unified arguments of a row, written as the legacy ones were.

    Raises:
        LeaveError: They are no literals, or do not fit.
    """
    fields = [field for field in (args, kwargs) if field is not None]
    if all(isinstance(field.value, cst.SimpleString) for field in fields):
        return _as_text(target, *(text_of(field.value) if field else None for field in (args, kwargs)))
    inner = [field.value.args[0].value for field in fields if _is_dumps(context, field.value)]  # type: ignore[attr-defined]
    if len(inner) != len(fields):
        raise LeaveError("PERIODIC-ROW", fields[0].value)
    result = adapt_literals(context, (target,), inner[0] if args else None, inner[-1] if kwargs else None) or {}
    made = "{" + ", ".join(f'"{name}": {value}' for name, value in result.items()) + "}"
    function = fields[0].value.func  # type: ignore[attr-defined]
    return f"{context.source.code(function)}({made})"


def _is_dumps(context: FileContext, node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Call) and len(node.args) == 1 and context.values.only(node.func) == _DUMPS


def _as_text(target: Target, args: str | None, kwargs: str | None) -> str:
    try:
        return repr(json.dumps(adapt(as_mapping(target), json.loads(args or "[]"), json.loads(kwargs or "{}"))[1]))
    except (ValueError, TypeError, AdaptationError) as error:
        raise LeaveError("PERIODIC-ROW", detail=str(error)) from error


REWRITE = Rewrite(name="periodic_tasks", whole_file=rewrite)

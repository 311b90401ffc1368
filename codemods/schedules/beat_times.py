"""When an entry of beat's schedule runs, in the words of the plan.

Source: ``celery/schedules.py`` (``crontab``'s positions are minute, hour, day_of_week, day_of_month, month_of_year),
``celery/beat.py`` (``maybe_schedule`` takes numbers and ``timedelta``).
"""

from __future__ import annotations

from datetime import timedelta

import libcst as cst

from codemods.editing.context import FileContext
from codemods.editing.units import constant
from codemods.resolve.name_resolution import text_of
from codemods.syntax.scopes import BindingKind

_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_POSITIONS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
_UNITS = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")


def beat_times(context: FileContext, node: cst.BaseExpression, depth: int = 0) -> str:
    """Return a schedule as ``crontab = "…"`` or ``every_s = …``; empty if the plan can't state it or it is computed."""
    if depth > 5:
        return ""
    if isinstance(node, cst.Name):
        found = context.values.bindings(node)
        value = found[0].value if len(found) == 1 and found[0].kind is BindingKind.ASSIGN else None
        return beat_times(context, value, depth + 1) if value is not None else ""
    number = constant(node)
    if number is not None:
        return f"every_s = {number!r}"
    if not isinstance(node, cst.Call) or any(arg.star for arg in node.args):
        return ""
    made = context.values.only(node.func)
    if made == "celery.schedules.crontab":
        return _crontab(node)
    if made == "datetime.timedelta":
        return _timedelta(node)
    if made == "celery.schedules.schedule" and len(node.args) == 1:
        return beat_times(context, node.args[0].value, depth + 1)
    return ""


def _crontab(node: cst.Call) -> str:
    given = dict.fromkeys(_FIELDS, "*")
    for position, arg in enumerate(node.args):
        name = arg.keyword.value if arg.keyword else _POSITIONS[position] if position < len(_POSITIONS) else ""
        number = constant(arg.value)
        value = text_of(arg.value) if number is None else f"{number:g}"
        if name not in given or value is None:
            return ""
        given[name] = value.replace(" ", "")
    return f'crontab = "{" ".join(given.values())}"'


def _timedelta(node: cst.Call) -> str:
    given: dict[str, float] = {}
    for position, arg in enumerate(node.args):
        number = constant(arg.value)
        if number is None:
            return ""
        given[arg.keyword.value if arg.keyword else _UNITS[position]] = number
    return f"every_s = {timedelta(**given).total_seconds()!r}"

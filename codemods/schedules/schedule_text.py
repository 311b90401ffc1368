"""Entries of the plan's schedule as Python source.

Source: ``celery/schedules.py`` ``crontab``: a field that isn't given means every, so all finer ones are written out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from migrator.plan.model import ScheduleEntry

_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


def entry_lines(entry: ScheduleEntry, crontab: str, extras: Mapping[str, str]) -> list[str]:
    """Return the lines of one element of a dict, four spaces deep.

    Args:
        entry: The plan's.
        crontab: Name under which ``crontab`` can be used.
        extras: Further keys of the entry and their source text.
    """
    lines = [f"    {quoted(entry.name)}: {{", f'        "task": {quoted(entry.task)},']
    lines.append(f'        "schedule": {schedule(entry, crontab)},')
    if entry.kwargs:
        lines.append(f'        "kwargs": {literal(dict(entry.kwargs))},')
    lines += [f"        {quoted(key)}: {text}," for key, text in extras.items()]
    return [*lines, "    },"]


def schedule(entry: ScheduleEntry, crontab: str) -> str:
    """Return one schedule: seconds, or a crontab with every field that isn't a star."""
    if entry.every_s is not None:
        return repr(float(entry.every_s))
    return crontab_call(entry.crontab.split(), crontab)


def crontab_call(fields: Sequence[str], crontab: str = "crontab") -> str:
    """Return ``crontab(minute=…, …)``; minute and hour are always written when a coarser field is."""
    given = {name: value for name, value in zip(_FIELDS, fields, strict=True) if value != "*"}
    parts = [f"{name}={_value(given[name])}" for name in _FIELDS if name in given]
    return f"{crontab}({', '.join(parts)})"


def _value(text: str) -> str:
    return text if text.isdigit() and str(int(text)) == text else quoted(text)


def quoted(text: str) -> str:
    """Return a string literal in double quotes."""
    body = repr(text)[1:-1]
    if repr(text)[0] == "'":
        body = body.replace("\\'", "'").replace('"', '\\"')
    return f'"{body}"'


def literal(value: object) -> str:
    """Return a value from the plan as Python source, strings in double quotes."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    return repr(value)

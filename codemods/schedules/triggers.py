"""Triggers of other schedulers as beat means them: five crontab fields, or seconds.

APScheduler counts weekdays from Monday = 0, in ``from_crontab`` too, so names of days are written. Its fields finer
than the finest that is given are the smallest value, coarser ones are every; Celery's are every in both cases.
Source: ``apscheduler/triggers/cron/__init__.py`` (3.x), ``celery/schedules.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Coarse to fine.
_CRON = ("year", "month", "day", "week", "day_of_week", "hour", "minute", "second")
_SECONDS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def interval(given: Mapping[str, object]) -> str:
    """Return an interval trigger as ``every_s = …``; empty if it can't be read."""
    total = 0.0
    for name, value in given.items():
        if name not in _SECONDS or not isinstance(value, (int, float)):
            return ""
        total += _SECONDS[name] * value
    return f"every_s = {total:g}" if total > 0 else ""


def cron(given: Mapping[str, object]) -> str:
    """Return a cron trigger as ``crontab = "…"``; empty if beat has no equal."""
    if any(name not in _CRON or not isinstance(value, (int, str)) for name, value in given.items()):
        return ""
    if given.get("year", "*") != "*" or given.get("week", "*") != "*" or str(given.get("second", 0)) != "0":
        return ""
    finest = max((_CRON.index(name) for name in given), default=-1)
    if finest < 0:
        return ""
    values = {}
    for index, name in enumerate(_CRON):
        default = (
            "0" if index > finest and name in {"hour", "minute"} else "1" if index > finest and name == "day" else "*"
        )
        values[name] = str(given.get(name, default))
    if given.get("month") is not None and finest == _CRON.index("month"):
        values["day"] = "1"
    weekday = named_weekdays(values["day_of_week"])
    fields = [values["minute"], values["hour"], values["day"], values["month"], weekday]
    if not weekday or any(re.search(r"[^\d*/,\-]", field) for field in fields[:4]):
        return ""
    return f'crontab = "{" ".join(fields)}"'


def from_crontab(text: str) -> str:
    """Return ``CronTrigger.from_crontab(text)`` as ``crontab = "…"``; empty if it can't be read."""
    fields = text.split()
    weekday = named_weekdays(fields[4]) if len(fields) == 5 else ""
    return f'crontab = "{" ".join([*fields[:4], weekday])}"' if weekday else ""


def named_weekdays(text: str) -> str:
    """Return APScheduler's weekdays (Monday is 0) by name; empty if they can't be read."""
    if text == "*":
        return "*"
    parts = []
    for part in text.lower().split(","):
        ends = part.split("-")
        names = [_DAYS[int(end)] if end.isdigit() and int(end) < 7 else end for end in ends]
        if any(name not in _DAYS for name in names) or len(names) > 2:
            return ""
        parts.append("-".join(names))
    return ",".join(parts)

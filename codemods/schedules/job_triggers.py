"""When a job of another scheduler runs, in the words of the plan: of APScheduler, dramatiq-crontab and periodiq.

Source: ``apscheduler/schedulers/base.py`` (``add_job``, ``scheduled_job``), ``dramatiq_crontab/__init__.py`` (hands its
text to ``CronTrigger.from_crontab``), ``periodiq/__init__.py`` (``CronSpec``).
"""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from codemods.editing.context import FileContext
from codemods.resolve.name_resolution import text_of
from codemods.schedules.triggers import cron, from_crontab, interval
from codemods.syntax.scopes import BindingKind
from migrator.plan.model import ScheduleEntry

#: Arguments of ``add_job`` that belong to no trigger.
_JOB = frozenset(
    {"func", "trigger", "args", "kwargs", "id", "name", "misfire_grace_time", "coalesce", "max_instances"}
    | {"next_run_time", "jobstore", "executor", "replace_existing", "timezone", "jitter"}
)
_TRIGGERS = "apscheduler.triggers."
#: periodiq's names for whole specifications, and its weekdays.
_NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FROM_SUNDAY = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


def job_text(context: FileContext, trigger: cst.Arg | None, args: Sequence[cst.Arg]) -> str:
    """Return the trigger of ``add_job`` or ``scheduled_job`` as the plan writes it; empty if it can't be read."""
    if trigger is None:
        return ""
    kind = text_of(trigger.value)
    if kind in {"cron", "interval"}:
        given = _constants([arg for arg in args if arg.keyword is not None and arg.keyword.value not in _JOB])
        return "" if given is None else cron(given) if kind == "cron" else interval(given)
    return trigger_text(context, trigger.value)


def scheduling(context: FileContext, node: cst.BaseExpression) -> str:
    """Return the dotted path of what schedules; what the file itself defines where that can't be imported is no other.

    ``try: from dramatiq_crontab import cron``, ``except ImportError: def cron(…)``.
    """
    own = f"{context.values.where.module}."
    found = {path for path in context.values.dotted(node) if not path.startswith(own)}
    return found.pop() if len(found) == 1 else ""


def trigger_text(context: FileContext, node: cst.BaseExpression, depth: int = 0) -> str:
    """Return a trigger object, or the call of a scheduling decorator, as the plan writes it; empty if it can't be."""
    if isinstance(node, cst.Name) and depth < 5:
        found = context.values.bindings(node)
        value = found[0].value if len(found) == 1 and found[0].kind is BindingKind.ASSIGN else None
        return trigger_text(context, value, depth + 1) if value is not None else ""
    if not isinstance(node, cst.Call):
        return ""
    made = scheduling(context, node.func)
    first = text_of(node.args[0].value) if node.args else None
    if made == "periodiq.cron":
        return from_periodiq(first or "")
    if made == "dramatiq_crontab.cron" or (made.startswith(_TRIGGERS) and made.endswith("CronTrigger.from_crontab")):
        return from_crontab(first or "")
    given = _constants([arg for arg in node.args if not (arg.keyword and arg.keyword.value in _JOB)])
    if given is None:
        return ""
    if made == "dramatiq_crontab.interval" or (made.startswith(_TRIGGERS) and made.endswith("IntervalTrigger")):
        return interval(given)
    return cron(given) if made.startswith(_TRIGGERS) and made.endswith("CronTrigger") else ""


def tell_difference(context: FileContext, node: cst.CSTNode, entry: str, text: str) -> None:
    """Tell if the plan's schedule says another time than the job that it replaces."""
    planned = {f"replaced by {item.name}": item for item in context.index.entries}.get(context.index.schedule[entry])
    if planned is None or not text:
        return
    if not means(text, planned):
        context.leave(node, "SCHEDULE-DIFFERS", f"{text} here, {planned.name} in the plan")


def means(text: str, planned: ScheduleEntry) -> bool:
    """True if a schedule in the words of the plan is that of an entry."""
    kind, _, value = text.partition(" = ")
    if planned.every_s is not None:
        return kind == "every_s" and float(value) == planned.every_s
    return kind == "crontab" and _fields(value.strip('"')) == _fields(planned.crontab)


def _fields(crontab: str) -> list[set[str]]:
    """Return a crontab's fields as sets of values, weekdays and their ranges as numbers, Sunday as 0."""
    found = [set(field.split(",")) for field in crontab.lower().split()]
    days: set[str] = set()
    for part in found[4] if len(found) == 5 else ():
        ends = [str(_FROM_SUNDAY.index(end)) if end in _FROM_SUNDAY else end for end in part.split("-")]
        if len(ends) == 2 and all(end.isdigit() for end in ends):
            first, last = int(ends[0]), int(ends[1])
            days |= {str(day % 7) for day in range(first, last + 1 if last >= first else last + 8)}
        else:
            days |= {str(int(end) % 7) if end.isdigit() else end for end in ends}
    return [*found[:4], days]


def _constants(args: Sequence[cst.Arg]) -> dict[str, object] | None:
    found: dict[str, object] = {}
    for arg in args:
        if arg.keyword is None:
            return None
        if isinstance(arg.value, (cst.Integer, cst.Float)):
            found[arg.keyword.value] = arg.value.evaluated_value
        elif (text := text_of(arg.value)) is not None:
            found[arg.keyword.value] = text
        else:
            return None
    return found


def from_periodiq(text: str) -> str:
    """Return ``periodiq.cron(text)`` as ``crontab = "…"``; empty if beat has no equal.

    Sunday is 0 and 7 there. Both kinds of days given mean either of them, which beat can't say in one entry.
    """
    fields = _NAMED.get(text.strip(), text).lower().split()
    if len(fields) != 5 or (fields[2] != "*" and fields[4] != "*"):
        return ""
    parts = []
    for part in fields[4].split(","):
        ends = part.split("-")
        names = [_FROM_SUNDAY[int(end)] if end.isdigit() and int(end) < 8 else end for end in ends]
        if any(name not in {*_FROM_SUNDAY, "*"} for name in names) or len(names) > 2:
            return ""
        parts.append("-".join(names))
    return f'crontab = "{" ".join([*fields[:4], ",".join(parts)])}"'

"""When schedule entries fire and what they send: the next thousand times of legacy and unified entries, and the calls.

Both are computed by Celery's own schedules, each in the zone that its scheduler really uses, and again around every
daylight saving change of the following year. The zone of an entry is its own; else that of its scheduler, which is the
app's for beat, and for the schedulers of Dramatiq what Django sets for the process.
Source: ``celery/schedules.py`` (crontab.remaining_delta), ``celery/app/base.py`` (``timezone``),
``django/conf/__init__.py`` (``TZ``), periodiq (``pendulum.now()``), apscheduler (``get_localzone()``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from checks.compare.compare import differences
from checks.compare.experiment import Comparison
from checks.compare.normalize import by_name
from checks.protocol import KindContext
from checks.schedule_source import read_entry
from migrator.agent.canonical import digest
from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt
from migrator.plan.model import ScheduleEntry
from migrator.report import Finding, Mismatch, Outcome, Severity
from migrator.wire.message import System

#: How many firing times are compared, and how many around each daylight saving change.
FIRINGS = 1_000
FIRINGS_AT_CHANGE = 60
#: An arbitrary Monday, the same in every run.
START_AT = datetime(2026, 3, 2, tzinfo=UTC)


def compare(context: KindContext) -> Iterator[Comparison]:
    """Yield one comparison for each legacy entry that a unified one replaces.

    Entries of the legacy modules are read by importing these modules. The rewrite removes entries from other files, so
    those are read from its record (:mod:`checks.schedule_source`).
    """
    known: dict[str, Mapping[str, Any]] = {}
    for system in ("celery", "dramatiq"):
        known |= context.described.get(system, {}).get("schedules", {})
    for entry in context.plan.schedule:
        for name in entry.replaces:
            if _in_legacy_module(context, name):
                old: Mapping[str, Any] | None = known.get(name, {"broken": "there is no such entry"})
            else:
                old = read_entry(context.plan, name)
            if old is not None:
                yield _comparison(context, entry, name, old)


def untraceable(context: KindContext) -> list[Finding]:
    """Return entries outside the legacy modules that are neither in the source nor in a recorded rewrite any more."""
    return [
        Finding(
            code="PARITY-SCHEDULE-GONE",
            severity=Severity.INFO,
            where=name,
            what="is neither in the source nor in a recorded rewrite, so its times were not compared",
            remedy=f"compare it with {entry.name} by hand, or run the check before the rewrite's record is removed",
        )
        for entry in context.plan.schedule
        for name in entry.replaces
        if not _in_legacy_module(context, name) and read_entry(context.plan, name) is None
    ]


def _in_legacy_module(context: KindContext, name: str) -> bool:
    """Tell whether importing a legacy module shows the entry; clocks of actors are read from the source."""
    endpoint = context.plan.endpoint(System.CELERY)
    return endpoint is not None and name.partition(":")[0] in endpoint.modules


def firings(times: Mapping[str, Any], timezone: str, start_at: datetime, count: int) -> list[str]:
    """Return the next moments at which a schedule fires, in UTC."""
    if "every_s" in times:
        step = timedelta(seconds=times["every_s"])
        return [(start_at + step * (number + 1)).isoformat() for number in range(count)]
    from celery import Celery
    from celery.schedules import crontab

    minute, hour, day, month, weekday = times["crontab"].split()
    zone = ZoneInfo(timezone)
    result, last = [], start_at.astimezone(zone)
    fires = crontab(
        minute=minute,
        hour=hour,
        day_of_month=day,
        month_of_year=month,
        day_of_week=weekday,
        app=Celery(set_as_current=False, timezone=timezone),
        nowfun=lambda: last,
    )
    for _ in range(count):
        last = (last.astimezone(UTC) + fires.remaining_estimate(last)).astimezone(zone)
        result.append(last.astimezone(UTC).isoformat())
    return result


def clock_changes(timezone: str, start_at: datetime) -> list[datetime]:
    """Return the days of the following year on which the zone's offset changes."""
    zone = ZoneInfo(timezone)
    days = [start_at + timedelta(days=number) for number in range(366)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    return [days[i] for i in range(1, len(days)) if offsets[i] != offsets[i - 1]]


def _comparison(context: KindContext, entry: ScheduleEntry, name: str, old: Mapping[str, Any]) -> Comparison:
    frame: dict[str, Any] = {"case": f"schedule:{entry.name}", "task": entry.task, "system": "celery"}
    about: dict[str, Any] = {**frame, "title": f"{name} as {entry.name}", "kind": "schedule", "legacy_name": name}
    new: dict[str, Any] = {"crontab": entry.crontab} if entry.crontab else {"every_s": entry.every_s}
    zones = (_zone(context, str(old.get("system", "celery")), old), _zone(context, "unified", {}))
    why = f"the legacy entry {name} could not be read: {old['broken']}" if "broken" in old else ""
    if not why and not all(zones) and ("crontab" in old or "crontab" in new):
        side = "unified" if zones[0] else "legacy"
        why = f"the time zone of the {side} scheduler is not known: name it in its settings, or compare by hand"
    if why:
        mismatch = Mismatch(path="schedule", outcome=Outcome.NOT_COMPARED, reason=why, **frame)
        return Comparison(mismatches=(mismatch,), **about)
    label = name.replace(":", "/")
    left = {label: {"times": _firing_times(old, zones[0], zones), "call": _legacy_call(context, old)}}
    call = _call(context, entry.task, (), entry.kwargs)
    right = {label: {"times": _firing_times(new, zones[1], zones), "call": call}}
    found = [
        Mismatch(path=f"schedule.{path}", outcome=Outcome.MISMATCHED, legacy=legacy, unified=unified, **frame)
        for path, legacy, unified in differences(left, right, ())
    ]
    return Comparison(mismatches=tuple(found), **about)


def _zone(context: KindContext, side: str, entry: Mapping[str, Any]) -> str:
    """Return the zone in which a scheduler counts; empty if it is not known."""
    described = context.described.get(side, {})
    local = str(described.get("local_timezone", ""))
    for zone in (entry.get("timezone"), described.get("timezone"), local):
        if zone:
            # Celery's local zone has no name: it is that of the process.
            return str(zone) if str(zone) in available_timezones() else local
    return ""


def _firing_times(times: Mapping[str, Any], timezone: str, zones: Iterable[str]) -> str:
    """Return the firing times as one text, equal exactly if every one of them is."""
    moments = firings(times, timezone, START_AT, FIRINGS)
    for change in sorted({change for zone in zones if zone for change in clock_changes(zone, START_AT)}):
        moments += firings(times, timezone, change - timedelta(hours=36), FIRINGS_AT_CHANGE)
    days = (datetime.fromisoformat(moments[FIRINGS - 1]) - START_AT).total_seconds() / 86_400
    return f"{FIRINGS} times in {days:.2f} days, first {', '.join(moments[:3])}, all {digest(moments)}"


def _legacy_call(context: KindContext, old: Mapping[str, Any]) -> dict[str, Any]:
    mapping = context.plan.mapping(System(old.get("system", "celery")), old["task"])
    if mapping is None:
        return {"task": old["task"], "arguments": old["kwargs"]}
    try:
        args, kwargs = adapt(mapping, old["args"], old["kwargs"])
    except AdaptationError as error:
        return {"task": mapping.unified, "arguments": {"$unadaptable": str(error)}}
    return _call(context, mapping.unified, args, kwargs)


def _call(context: KindContext, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a unified call with every argument, defaults included."""
    defaults = {
        item["name"]: item["default"]
        for item in context.facts("unified", task).get("parameters", ())
        if item["default"] is not None
    }
    given = {name: repr(value) for name, value in by_name(task, args, kwargs, context.plan).items()}
    return {"task": task, "arguments": {**defaults, **given}}

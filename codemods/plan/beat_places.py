"""Where a project's settings stand and where the unified beat takes its schedule from, as the rewrites query it.

:mod:`codemods.schedules.places` decides it, once for the whole project.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from migrator.plan.model import Plan, ScheduleEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsPlace:
    """A scope that holds settings: a module, or a class in it as django-configurations has them."""

    module: str
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedEntry:
    """An entry of the plan that stands nowhere yet."""

    entry: ScheduleEntry
    #: What the legacy entry said besides, such as its ``options``: key and source text.
    extras: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatPlaces:
    """What is edited where."""

    #: Legacy entries that are rewritten where they stand, as ``module:entry``, with the name of the plan's entry.
    kept: Mapping[str, str] = field(default_factory=dict)
    #: Entries that are written anew, into :attr:`home`.
    added: tuple[AddedEntry, ...] = ()
    home: SettingsPlace | None = None
    #: Line of the dict that gets them; 0 if the setting is made.
    line: int = 0
    #: Names of the settings as the unified app reads them.
    schedule_setting: str = "CELERY_BEAT_SCHEDULE"
    queue_setting: str = "CELERY_TASK_DEFAULT_QUEUE"
    #: Where the queue's setting stands or is to be made, and where the installed apps stand.
    queue: SettingsPlace | None = None
    #: The same of the table of routes.
    routes_setting: str = "CELERY_TASK_ROUTES"
    routes: SettingsPlace | None = None
    apps: SettingsPlace | None = None
    #: Modules of the project's settings, the plan's first, then those that it imports everything from.
    settings: tuple[str, ...] = ()
    #: Why the added entries have no home, and the file that it is about.
    problem: str = ""
    problem_at: str = ""


def legacy_fates(plan: Plan) -> dict[str, str]:
    """Return the legacy entries that the plan replaces or retires, as ``module:entry``, with what becomes of each."""
    found = {entry.name: f"retired: {entry.reason}" for entry in plan.retired_schedule}
    for schedule in plan.schedule:
        found |= dict.fromkeys(schedule.replaces, f"replaced by {schedule.name}")
    return found

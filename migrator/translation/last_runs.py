"""When entries of a schedule ran last, by the names of one side, as the other side is to know it. Pure.

So a beat that starts neither repeats what the other one has run nor skips what it hasn't.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from migrator.plan.model import Plan

#: ``last_run_at`` in ISO form and ``total_run_count``, by the name of an entry; ``assumed`` if nobody remembers it.
LastRuns = Mapping[str, Mapping[str, Any]]


def unified_runs(
    plan: Plan, legacy: Iterable[LastRuns], *, schedule: Iterable[str], stopped_at: str | None
) -> dict[str, dict[str, Any]]:
    """Return the last runs by unified entry.

    Args:
        plan: Which entry replaces which.
        legacy: What each legacy beat remembers.
        schedule: Names of all entries of the unified beat; those that the plan doesn't name keep theirs.
        stopped_at: When the legacy schedulers were told to stop. Up to then, one that remembers nothing has run
            everything. None if they did not run.
    """
    known = list(legacy)
    found: dict[str, dict[str, Any]] = {}
    planned = {entry.name for entry in plan.schedule}
    for entry in plan.schedule:
        names = [name.partition(":")[2] for name in entry.replaces]
        latest = _latest(runs[name] for runs in known for name in names if name in runs)
        if latest is not None:
            found[entry.name] = latest
        elif names and stopped_at is not None:
            found[entry.name] = {"last_run_at": stopped_at, "total_run_count": 0, "assumed": True}
    for name in schedule:
        latest = _latest(runs[name] for runs in known if name in runs)
        if latest is not None and name not in planned:
            found[name] = latest
    return found


def legacy_runs(plan: Plan, unified: LastRuns) -> dict[str, dict[str, Any]]:
    """Return the last runs by legacy entry: each gets that of the entry that replaces it, all others keep theirs."""
    entries = {entry.name: [name.partition(":")[2] for name in entry.replaces] for entry in plan.schedule}
    return {
        name: dict(state)
        for unified_name, state in unified.items()
        if state["last_run_at"] is not None
        for name in entries.get(unified_name, [unified_name])
    }


def _latest(states: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the last of several runs, with the number of all of them."""
    known = [state for state in states if state["last_run_at"] is not None]
    if not known:
        return None
    last = max(known, key=lambda state: datetime.fromisoformat(state["last_run_at"]))
    return {"last_run_at": last["last_run_at"], "total_run_count": sum(state["total_run_count"] for state in known)}

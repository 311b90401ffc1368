"""What a kind of parity is given, and what it gives: comparisons, judged by the same waivers as cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from checks.cases.load import Case
from checks.compare.compare import differences
from checks.compare.experiment import Comparison
from checks.waiting_messages import Waiting
from migrator.plan.model import Plan, TaskMapping
from migrator.report import Mismatch, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class KindContext:
    """What a kind may look at."""

    plan: Plan
    cases: tuple[Case, ...]
    #: By system (``dramatiq``, ``celery``, ``unified``): ``tasks`` and ``schedules`` as the side describes them.
    described: Mapping[str, Mapping[str, Any]]
    #: By system: what importing the modules gave in a bare environment.
    bare: Mapping[str, Mapping[str, Any]]
    #: Calls that wait in the live brokers; None if nobody asked for them.
    waiting: Waiting | None = None

    def facts(self, system: str, name: str) -> Mapping[str, Any]:
        """Return what a side says of a task; ``broken`` with the reason if nothing."""
        side = self.described.get(system, {})
        if "broken" in side:
            return side
        found: Mapping[str, Any] = side.get("tasks", {}).get(name, {"broken": "the side doesn't know this task"})
        return found


def pair(kind: str, mapping: TaskMapping, legacy: Mapping[str, Any], unified: Mapping[str, Any]) -> Comparison:
    """Return the comparison of two descriptions of one mapped task; either may be ``broken``."""
    case, system = f"{kind}:{mapping.name}", mapping.system.value
    frame: dict[str, Any] = {"case": case, "task": mapping.unified, "system": system}
    broken = [(name, side["broken"]) for name, side in (("legacy", legacy), ("unified", unified)) if "broken" in side]
    if broken:
        reason = f"the {broken[0][0]} side could not be looked at: {broken[0][1]}"
        found = [Mismatch(path=kind, outcome=Outcome.NOT_COMPARED, reason=reason, **frame)]
    else:
        found = [
            Mismatch(path=path, outcome=Outcome.MISMATCHED, legacy=left, unified=right, **frame)
            for path, left, right in differences({kind: legacy[kind]}, {kind: unified[kind]}, ())
        ]
    title = f"{kind} of {mapping.name}"
    return Comparison(title=title, kind=kind, legacy_name=mapping.name, mismatches=tuple(found), **frame)

"""The interface of a kind of parity check: it is given a context and yields comparisons, waived like those of cases."""

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
    """The data that a kind compares."""

    plan: Plan
    cases: tuple[Case, ...]
    #: By system (``dramatiq``, ``celery``, ``unified``): ``tasks`` and ``schedules`` as its process describes them.
    described: Mapping[str, Mapping[str, Any]]
    #: By system: the result of importing the modules in a bare environment.
    bare: Mapping[str, Mapping[str, Any]]
    #: Calls that wait in the live brokers; None if they were not read.
    waiting: Waiting | None = None

    def facts(self, system: str, name: str) -> Mapping[str, Any]:
        """Return the description of a task; ``broken`` with the reason if there is none."""
        description = self.described.get(system, {})
        if "broken" in description:
            return description
        unknown = {"broken": f"{system} has no task of this name"}
        found: Mapping[str, Any] = description.get("tasks", {}).get(name, unknown)
        return found


def pair(kind: str, mapping: TaskMapping, legacy: Mapping[str, Any], unified: Mapping[str, Any]) -> Comparison:
    """Return the comparison of two descriptions of one mapped task; either may be ``broken``."""
    case, system = f"{kind}:{mapping.name}", mapping.system.value
    frame: dict[str, Any] = {"case": case, "task": mapping.unified, "system": system}
    broken = [(name, item["broken"]) for name, item in (("legacy", legacy), ("unified", unified)) if "broken" in item]
    if broken:
        reason = f"the {broken[0][0]} side could not be described: {broken[0][1]}"
        found = [Mismatch(path=kind, outcome=Outcome.NOT_COMPARED, reason=reason, **frame)]
    else:
        found = [
            Mismatch(path=path, outcome=Outcome.MISMATCHED, legacy=left, unified=right, **frame)
            for path, left, right in differences({kind: legacy[kind]}, {kind: unified[kind]}, ())
        ]
    title = f"{kind} of {mapping.name}"
    return Comparison(title=title, kind=kind, legacy_name=mapping.name, mismatches=tuple(found), **frame)

"""One experiment: legacy is the control, unified the candidate, and the control runs twice to know its own noise.

Both sides always run; the result is a value and is published before anybody decides what it means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from checks.cases.load import Call, Case, Expected
from checks.compare.compare import differences, equal, masked, noise, rules_for, without_ignored
from checks.compare.noise import NoiseSample, sample
from checks.compare.normalize import normal
from checks.configuration import Rule
from migrator.plan.model import Plan
from migrator.report import Mismatch, Outcome

#: How much later it is for the second run of a side.
CLOCK_OFFSET_S = 2 * 3600 + 17 * 60.0
#: Exceptions that say the code itself is broken; a task that raises one has no behaviour to compare with.
BROKEN_CODE = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "ImproperlyConfigured", "IndentationError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case, one legacy system: how the unified task compares."""

    case: str
    title: str
    kind: str
    #: Unified task name.
    task: str
    system: str
    #: Legacy task name.
    legacy_name: str
    mismatches: tuple[Mismatch, ...] = ()
    #: Where the legacy side differs from itself.
    noise: tuple[NoiseSample, ...] = ()
    legacy_s: float = 0.0
    unified_s: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """The gravest outcome of any path."""
        found = {mismatch.outcome for mismatch in self.mismatches}
        order = (Outcome.NOT_COMPARED, Outcome.MISMATCHED, Outcome.WAIVED)
        return next((outcome for outcome in order if outcome in found), Outcome.MATCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Where the two legacy systems already differ from each other, so that no unified task could match both."""

    case: str
    task: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was seen of one call; each may hold ``broken`` instead."""

    control: Mapping[str, Any]
    #: The control once more under other circumstances; None when noise is not asked for.
    again: Mapping[str, Any] | None
    candidate: Mapping[str, Any]
    #: The candidate once more; what only it makes at random is noise too.
    candidate_again: Mapping[str, Any] | None


def compare_call(
    case: Case, call: Call, seen: Observations, plan: Plan, rules: Sequence[Rule]
) -> tuple[Comparison, Mapping[str, Any] | None]:
    """Return the comparison of one call, and the legacy side as it was compared (None if it could not be)."""
    mapping, rules = call.mapping, rules_for(case.name, rules)
    frame = {"case": case.name, "task": mapping.unified, "system": mapping.system.value}
    about: dict[str, Any] = {
        **frame,
        "title": case.title,
        "kind": case.kind.value,
        "legacy_name": mapping.name,
        "legacy_s": float(seen.control.get("duration_s", 0.0)),
        "unified_s": float(seen.candidate.get("duration_s", 0.0)),
    }
    reason = _incomparable(case, seen)
    if reason:
        mismatch = Mismatch(path=reason[0], outcome=Outcome.NOT_COMPARED, reason=reason[1], **frame)
        return Comparison(mismatches=(mismatch,), **about), None

    def seen_as(observation: Mapping[str, Any], *, legacy: bool) -> Any:
        return without_ignored(normal(observation, call, plan, legacy=legacy), rules)

    control, candidate = seen_as(seen.control, legacy=True), seen_as(seen.candidate, legacy=False)
    repeated = seen_as(seen.again, legacy=True) if seen.again else control
    own = frozenset(noise(control, repeated))
    other = seen.candidate_again
    paths = own | (frozenset(noise(candidate, seen_as(other, legacy=False))) if other else frozenset())
    left, right = masked(control, paths), masked(candidate, paths)
    mismatches = [
        Mismatch(path=path, outcome=Outcome.MISMATCHED, legacy=legacy, unified=unified, **frame)
        for path, legacy, unified in differences(left, right, rules)
    ]
    mismatches += _unexpected(case, seen.candidate, frame)
    noisy = tuple(sample(path, control, repeated, CLOCK_OFFSET_S) for path in sorted(own))
    return Comparison(mismatches=tuple(mismatches), noise=noisy, **about), left


def disagreement(case: Case, sides: Mapping[str, Mapping[str, Any]], rules: Sequence[Rule]) -> Disagreement | None:
    """Return where two legacy systems that were asked the same differ, or None."""
    calls = {call.mapping.system.value: call for call in case.calls}
    names = [name for name in sides if name in calls]
    if len(names) < 2:
        return None
    first, second = (calls[name] for name in names[:2])
    asked = [{"args": list(call.unified_args), "kwargs": dict(call.unified_kwargs)} for call in (first, second)]
    if not equal(*asked):
        return None
    paths = tuple(path for path, _, _ in differences(sides[names[0]], sides[names[1]], rules))
    return Disagreement(case=case.name, task=case.task, paths=paths) if paths else None


def _incomparable(case: Case, seen: Observations) -> tuple[str, str] | None:
    """Return path and reason if there is nothing to compare, or None."""
    sides = (
        ("legacy", seen.control),
        ("legacy", seen.again or {}),
        ("unified", seen.candidate),
        ("unified", seen.candidate_again or {}),
    )
    for name, side in sides:
        if "broken" in side:
            return name, f"the {name} side could not be run: {side['broken']}"
        if side.get("violations"):
            return name, f"the {name} side left its box: {side['violations'][0]}"
    exception = seen.control.get("exception")
    if exception and exception["type"] in BROKEN_CODE and case.legacy_ends is not Expected.EXCEPTION:
        return "legacy", f"the legacy side is itself broken: {exception['type']}: {exception['message']}"
    if case.legacy_ends is not Expected.ANYTHING and _ended(seen.control) is not case.legacy_ends:
        found = _ended(seen.control).value
        return "legacy", f"the case says that the legacy side ends with {case.legacy_ends.value}, it ended with {found}"
    return None


def _unexpected(case: Case, candidate: Mapping[str, Any], frame: Mapping[str, str]) -> list[Mismatch]:
    if case.unified_ends is Expected.ANYTHING or _ended(candidate) is case.unified_ends:
        return []
    wanted, found = case.unified_ends.value, _ended(candidate).value
    reason = "the case says how the unified task must end"
    return [Mismatch(path="ends", outcome=Outcome.MISMATCHED, legacy=wanted, unified=found, reason=reason, **frame)]


def _ended(side: Mapping[str, Any]) -> Expected:
    if side["dead_letters"] or any(table.endswith("_taskfailure") for table in side["rows"]):
        return Expected.DEAD_LETTER
    outcomes = {"value": Expected.VALUE, "retry": Expected.RETRY, "exception": Expected.EXCEPTION}
    return outcomes.get(side["outcome"], Expected.ANYTHING)

"""One experiment: legacy is the control, unified the candidate, and both run twice to know their noise.

Control and candidate always run; the result is a value, published before anything is raised.
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

#: How much later the clock is in the second run.
CLOCK_OFFSET_S = 2 * 3600 + 17 * 60.0
#: Exceptions that mean the code itself is broken; a task that raises one has no behaviour to compare with.
BROKEN_CODE = frozenset(
    {"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError", "ImproperlyConfigured", "IndentationError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison of the unified task with one legacy task in one case."""

    case: str
    title: str
    kind: str
    #: Unified task name.
    task: str
    system: str
    #: Legacy task name.
    legacy_name: str
    mismatches: tuple[Mismatch, ...] = ()
    #: Where the legacy side differs between its two runs.
    noise: tuple[NoiseSample, ...] = ()
    legacy_s: float = 0.0
    unified_s: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """The most severe outcome of all paths."""
        found = {mismatch.outcome for mismatch in self.mismatches}
        order = (Outcome.NOT_COMPARED, Outcome.MISMATCHED, Outcome.WAIVED)
        return next((outcome for outcome in order if outcome in found), Outcome.MATCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Where the two legacy systems differ from each other, so that no unified task could match both."""

    case: str
    task: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """The observations of one call; each may hold ``broken`` instead."""

    control: Mapping[str, Any]
    #: The control once more under other conditions; None if noise is not measured.
    again: Mapping[str, Any] | None
    candidate: Mapping[str, Any]
    #: The candidate once more; what is random only there is noise too.
    candidate_again: Mapping[str, Any] | None


def compare_call(
    case: Case, call: Call, seen: Observations, plan: Plan, rules: Sequence[Rule]
) -> tuple[Comparison, Mapping[str, Any] | None]:
    """Return the comparison of one call, and the legacy observation as it was compared (None if it could not be)."""
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

    def normalized(observation: Mapping[str, Any], *, legacy: bool) -> Any:
        return without_ignored(normal(observation, call, plan, legacy=legacy), rules)

    control, candidate = normalized(seen.control, legacy=True), normalized(seen.candidate, legacy=False)
    repeated = normalized(seen.again, legacy=True) if seen.again else control
    own = frozenset(noise(control, repeated))
    other = seen.candidate_again
    paths = own | (frozenset(noise(candidate, normalized(other, legacy=False))) if other else frozenset())
    left, right = masked(control, paths), masked(candidate, paths)
    mismatches = [
        Mismatch(path=path, outcome=Outcome.MISMATCHED, legacy=legacy, unified=unified, **frame)
        for path, legacy, unified in differences(left, right, rules)
    ]
    mismatches += _unexpected(case, seen.candidate, frame)
    noisy = tuple(sample(path, control, repeated, CLOCK_OFFSET_S) for path in sorted(own))
    return Comparison(mismatches=tuple(mismatches), noise=noisy, **about), left


def disagreement(case: Case, controls: Mapping[str, Mapping[str, Any]], rules: Sequence[Rule]) -> Disagreement | None:
    """Return where two legacy systems differ that were given the same call, or None."""
    calls = {call.mapping.system.value: call for call in case.calls}
    names = [name for name in controls if name in calls]
    if len(names) < 2:
        return None
    first, second = (calls[name] for name in names[:2])
    given = [{"args": list(call.unified_args), "kwargs": dict(call.unified_kwargs)} for call in (first, second)]
    if not equal(*given):
        return None
    paths = tuple(path for path, _, _ in differences(controls[names[0]], controls[names[1]], rules))
    return Disagreement(case=case.name, task=case.task, paths=paths) if paths else None


def _incomparable(case: Case, seen: Observations) -> tuple[str, str] | None:
    """Return path and reason if there is nothing to compare, or None."""
    observations = (
        ("legacy", seen.control),
        ("legacy", seen.again or {}),
        ("unified", seen.candidate),
        ("unified", seen.candidate_again or {}),
    )
    for name, observation in observations:
        if "broken" in observation:
            return name, f"the {name} side could not be run: {observation['broken']}"
        if observation.get("violations"):
            return name, f"the {name} side broke out of its sandbox: {observation['violations'][0]}"
    exception = seen.control.get("exception")
    if exception and exception["type"] in BROKEN_CODE and case.legacy_ends is not Expected.EXCEPTION:
        return "legacy", f"the legacy task itself is broken: {exception['type']}: {exception['message']}"
    if case.legacy_ends is not Expected.ANYTHING and _ended(seen.control) is not case.legacy_ends:
        found = _ended(seen.control).value
        return (
            "legacy",
            f"the case expects the legacy task to end with {case.legacy_ends.value}, but it ended with {found}",
        )
    return None


def _unexpected(case: Case, candidate: Mapping[str, Any], frame: Mapping[str, str]) -> list[Mismatch]:
    if case.unified_ends is Expected.ANYTHING or _ended(candidate) is case.unified_ends:
        return []
    wanted, found = case.unified_ends.value, _ended(candidate).value
    reason = "the case defines how the unified task must end"
    return [Mismatch(path="ends", outcome=Outcome.MISMATCHED, legacy=wanted, unified=found, reason=reason, **frame)]


def _ended(observation: Mapping[str, Any]) -> Expected:
    if observation["dead_letters"] or any(table.endswith("_taskfailure") for table in observation["rows"]):
        return Expected.DEAD_LETTER
    outcomes = {"value": Expected.VALUE, "retry": Expected.RETRY, "exception": Expected.EXCEPTION}
    return outcomes.get(observation["outcome"], Expected.ANYTHING)

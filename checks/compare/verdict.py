"""Judge the observations: comparisons, disagreements of the legacy systems, noise, waivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from checks.cases.load import Case, CaseKind
from checks.compare.experiment import Comparison, Disagreement, Observations, compare_call, disagreement
from checks.compare.noise import NoiseSample
from checks.compare.report import NoisyPath, ParityReport
from checks.compare.waivers import Waivers, apply_waivers, review
from checks.configuration import Rule
from migrator.plan.model import Plan
from migrator.report import Finding, Severity

Seen = Mapping[str, Mapping[str, Mapping[str, Any]]]
_MISSING: Mapping[str, Any] = {"broken": "it was not run"}


def judge(
    plan: Plan, cases: Sequence[Case], seen: Seen, rules: Sequence[Rule]
) -> tuple[tuple[Comparison, ...], tuple[Disagreement, ...]]:
    """Return one comparison for each case and legacy call, in case order, before any waiver."""
    comparisons, disagreements = [], []
    for case in cases:
        controls = {}
        for call in case.calls:
            system = call.mapping.system.value
            key = f"{case.name}|{system}|{call.mapping.name}"
            observations = Observations(
                control=seen.get(system, {}).get(key, _MISSING),
                again=_again(seen, system, key),
                candidate=seen.get("unified", {}).get(key, _MISSING),
                candidate_again=_again(seen, "unified", key),
            )
            comparison, control = compare_call(case, call, observations, plan, rules)
            comparisons.append(comparison)
            if control is not None:
                controls[system] = control
        differing = disagreement(case, controls, rules)
        if differing is not None:
            disagreements.append(differing)
    return tuple(comparisons), tuple(disagreements)


def _again(seen: Seen, system: str, key: str) -> Mapping[str, Any] | None:
    variant = f"{system}-again"
    return seen[variant].get(key, _MISSING) if variant in seen else None


def concluded(plan: Plan, comparisons: Sequence[Comparison], waivers: Waivers, *, whole: bool) -> ParityReport:
    """Return the report with waivers applied; only a whole run can find that a waiver covers nothing."""
    today = datetime.now(UTC).date()
    judged = tuple(
        replace(comparison, mismatches=apply_waivers(comparison.mismatches, waivers, today))
        for comparison in comparisons
    )
    mismatches = [mismatch for comparison in judged for mismatch in comparison.mismatches]
    return ParityReport(
        plan=plan.name,
        fingerprint=plan.fingerprint,
        comparisons=judged,
        findings=(*untested(plan, judged), *review(mismatches, waivers, today)) if whole else (),
        noise=noisy_paths(judged),
        whole=whole,
    )


def untested(plan: Plan, comparisons: Sequence[Comparison]) -> tuple[Finding, ...]:
    """Return mapped tasks that no case calls (they would be missing from the proof), and tasks without a control."""
    kinds = {kind.value for kind in CaseKind}
    called = {(item.system, item.legacy_name) for item in comparisons if item.kind in kinds}
    uncalled = [
        Finding(
            code="PARITY-NO-CASE",
            severity=Severity.ERROR,
            where=f"{mapping.system.value}:{mapping.name}",
            what="no case calls this mapped task",
            remedy="write one, or capture some from waiting messages with `migrator parity-check --capture`",
        )
        for mapping in plan.mappings()
        if (mapping.system.value, mapping.name) not in called
    ]
    without = [
        Finding(
            code="PARITY-NO-CONTROL",
            severity=Severity.INFO,
            where=task.name,
            what="replaces no legacy task, so it can't be compared",
            remedy="cover it with tests of its own",
        )
        for task in plan.tasks
        if not task.replaces
    ]
    return (*uncalled, *without)


def noisy_paths(comparisons: Sequence[Comparison]) -> tuple[NoisyPath, ...]:
    """Return the paths at which legacy tasks differ between two runs, with frequency and reason."""
    found: dict[tuple[str, str, str], list[NoiseSample]] = {}
    totals: Counter[tuple[str, str]] = Counter()
    for comparison in comparisons:
        totals[comparison.task, comparison.system] += 1
        for item in comparison.noise:
            found.setdefault((comparison.task, comparison.system, item.path), []).append(item)
    return tuple(
        NoisyPath(
            task=task,
            system=system,
            path=path,
            seen=len(samples),
            of=totals[task, system],
            first=samples[0].first,
            second=samples[0].second,
            why=samples[0].why,
        )
        for (task, system, path), samples in sorted(found.items())
    )

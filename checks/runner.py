"""Run every case on legacy and unified tasks and compare the observations: ``parity_check``.

The host project is imported in child processes only. Two variants run at a time; a variant is one system under one set
of conditions. Each system runs twice (with another clock, hash seed and order), which shows its own noise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checks.cases.load import Case, CaseSet, load_cases
from checks.cases.patterns import fits
from checks.compare.experiment import Comparison
from checks.compare.report import ParityReport
from checks.compare.verdict import concluded, judge
from checks.compare.waivers import Waivers, accept, load_waivers, pruned, write_lock
from checks.configuration import Configuration, case_paths, load_configuration
from checks.kinds.schedule import untraceable
from checks.registry import compare_all
from checks.reports.writers import write_reports
from checks.runs.observe import Request, Seen, Variations, context, observe
from checks.waiting_messages import Waiting, read_waiting
from migrator.errors import UsageError, did_you_mean
from migrator.events import Listener, ignore
from migrator.inventory.in_place import waiting
from migrator.inventory.source_files import module_file, module_files
from migrator.plan.model import Plan
from migrator.project.commands import ask_agent
from migrator.report import Finding, Severity
from migrator.state.proof import discard_proof, paths_digest, source_digest, write_proof


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityOptions:
    """How to run; the defaults are those of a CI gate."""

    #: Folder of cases; the one that ``parity.toml`` names if None.
    cases: Path | None = None
    #: Another ``parity.toml``.
    configuration: Path | None = None
    #: Patterns of unified task names and case names; empty for all. A run over some of the cases writes no proof.
    tasks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    #: Variants that run at a time.
    processes: int = 2
    #: A fresh process for each call.
    isolate: bool = False
    #: Send messages through the project's workers on a scratch broker.
    through_broker: bool = False
    #: URL of a PostgreSQL server on which each process gets databases of its own; SQLite files if empty.
    database: str = ""
    #: Also bind the waiting messages of the live brokers to the unified tasks' signatures; only reads them.
    waiting: bool = False
    #: Run each system twice to know its noise.
    noise: bool = True
    #: Hash seeds and clock offset of the runs.
    variations: Variations = field(default_factory=Variations)
    #: Ids of waivers whose current differences are accepted and written to the lock file.
    accept: tuple[str, ...] = ()
    #: Remove accepted differences that no longer occur.
    prune: bool = False


def parity_check(
    plan: Plan, *, environ: Mapping[str, str], options: ParityOptions, listener: Listener = ignore
) -> ParityReport:
    """Compare every mapped legacy task with its unified task on every case.

    Args:
        plan: The plan; its project is run as it is, with legacy and unified modules in the source.
        environ: Tells children where interpreter and libraries are; its broker and database URLs are never used.
        options: What to run and how.
        listener: Receives progress events.

    Raises:
        UsageError: Cases, waivers or configuration are wrong, or the unified tasks are not installed.
        UnreachableError: The fixture server or the scratch broker does not start.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    configuration = load_configuration(plan, file=options.configuration)
    if options.cases is not None:
        configuration = replace(configuration, cases=options.cases)
    source = source_digest(plan, apart=case_paths(plan, configuration))
    check_installed(plan)
    chosen = load_cases(configuration.cases, plan)
    cases, whole = _selected(chosen, options)
    load_waivers(configuration.waivers)  # problems in them are reported before anything is started
    request = _request(plan, configuration, (cases, whole), options)
    versions = ask_agent(plan, "versions", folder=plan.source_root, environ=environ)
    seen = observe(request, environ=environ, processes=options.processes, listener=listener)
    waiting = read_waiting(plan, environ) if options.waiting and whole else None
    report = _judged(request, seen, waiting, options)
    report = replace(
        report,
        findings=(*_source_changed(plan, configuration, source), *report.findings),
        started_at=started_at.isoformat(timespec="seconds"),
        elapsed_s=time.monotonic() - started,
        facts=_facts(plan, configuration, versions) | _run_options(options) | _summary(waiting),
    )
    return _published(plan, report, configuration)


def _request(
    plan: Plan, configuration: Configuration, chosen: tuple[tuple[Case, ...], bool], options: ParityOptions
) -> Request:
    return Request(
        plan=plan,
        cases=chosen[0],
        whole=chosen[1],
        configuration=configuration,
        noise=options.noise,
        isolate=options.isolate,
        through_broker=options.through_broker,
        database=options.database,
        variations=options.variations,
    )


def check_installed(plan: Plan) -> None:
    """Refuse a project without the unified modules.

    Raises:
        UsageError: A module of the plan's tasks is not in the source, or a task is not converted yet.
    """
    for module in sorted({task.path.rpartition(".")[0] for task in plan.tasks}):
        if module_file(plan.source_root, module) is None:
            remedy = "run `migrator rewrite-imports` first: it installs them"
            where = str(module_files(plan.source_root, module)[0])
            raise UsageError(where, "the unified tasks are not in the source", remedy=remedy)
    if left := waiting(plan, plan.source_root):
        raise UsageError(
            str(plan.source_root),
            f"{len(left)} tasks that become unified in place are still actors, so there is nothing to compare",
            found=", ".join(mapping.path for mapping in left[:3]),
            remedy="run `migrator rewrite-imports`, and convert by hand what it leaves",
        )


def _selected(chosen: CaseSet, options: ParityOptions) -> tuple[tuple[Case, ...], bool]:
    _require_known("task", options.tasks, [case.task for case in chosen.cases])
    _require_known("--case", options.names, [case.name for case in chosen.cases])
    cases = tuple(
        case
        for case in chosen.cases
        if (not options.tasks or any(fits(pattern, case.task) for pattern in options.tasks))
        and (not options.names or any(fits(pattern, case.name) for pattern in options.names))
    )
    if chosen.cases and not cases:
        found = f"tasks {', '.join(options.tasks)}; cases {', '.join(options.names)}"
        raise UsageError("parity-check", "no case of these tasks has such a name", found=found, remedy="leave one out")
    return cases, len(cases) == len(chosen.cases)


def _require_known(kind: str, patterns: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a pattern that nothing fits: a run without it would look like a run with it.

    Raises:
        UsageError: There is one.
    """
    for pattern in patterns:
        if not any(fits(pattern, name) for name in known):
            remedy = (
                did_you_mean(pattern, known) or f"one of {', '.join(sorted(set(known))) or 'none: there is no case'}"
            )
            raise UsageError(f"{kind} {pattern}", "no case fits it, so nothing was run", remedy=remedy)


def _judged(request: Request, seen: Seen, waiting: Waiting | None, options: ParityOptions) -> ParityReport:
    plan, configuration = request.plan, request.configuration
    comparisons, disagreements = judge(plan, request.cases, seen, configuration.rules)
    untraced: list[Finding] = []
    if request.whole and request.cases:
        kind_context = context(request, seen, waiting)
        comparisons += tuple(compare_all(kind_context))
        untraced = untraceable(kind_context)
    waivers = _revised(load_waivers(configuration.waivers), comparisons, options, whole=request.whole)
    report = concluded(plan, comparisons, waivers, whole=request.whole)
    return replace(report, disagreements=disagreements, findings=(*report.findings, *untraced))


def _revised(waivers: Waivers, comparisons: Sequence[Comparison], options: ParityOptions, *, whole: bool) -> Waivers:
    """Return the waivers after ``--accept`` and ``--prune``, and write their lock file if either was given."""
    found = tuple(mismatch for comparison in comparisons for mismatch in comparison.mismatches)
    if options.accept:
        known = tuple(waiver.id for waiver in waivers.waivers)
        waivers = accept(found, waivers, known if "all" in options.accept else options.accept)
    if options.prune and whole:
        waivers = pruned(found, waivers)
    if options.accept or options.prune:
        write_lock(waivers)
    return waivers


def _source_changed(plan: Plan, configuration: Configuration, source: str) -> tuple[Finding, ...]:
    """Return a finding if the source changed since the run began: part of the run compared other code."""
    if source_digest(plan, apart=case_paths(plan, configuration)) == source:
        return ()
    what, remedy = "the source was changed during the run", "run again, and don't change the source meanwhile"
    where = str(plan.source_root)
    return (Finding(code="PARITY-SOURCE-CHANGED", severity=Severity.ERROR, where=where, what=what, remedy=remedy),)


def _facts(plan: Plan, configuration: Configuration, versions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "source_digest": source_digest(plan, apart=case_paths(plan, configuration)),
        "cases_digest": paths_digest((configuration.cases,)),
        "versions": versions,
        "cases_folder": str(configuration.cases.resolve()),
        "processors": os.cpu_count(),
    }


def _summary(waiting: Waiting | None) -> dict[str, Any]:
    return {"waiting": list(waiting.summary) if waiting else []}


def _run_options(options: ParityOptions) -> dict[str, Any]:
    """Return the options of the run that matter to a reader of the report."""
    return {
        "through_broker": options.through_broker,
        "isolated": options.isolate,
        "database": "postgresql" if options.database else "sqlite",
    }


def _published(plan: Plan, report: ParityReport, configuration: Configuration) -> ParityReport:
    """Write the reports, then the proof if the run was green and whole; a red run removes an earlier proof.

    What a run over some of the cases reports lies in a folder of its own, beside the last whole report.
    """
    folder = plan.state_folder / "reports"
    files = write_reports(report, folder if report.whole else folder / "partial")
    if report.ok and report.whole:
        proof = write_proof(
            plan, case_paths=case_paths(plan, configuration), counts=report.counts, versions=report.facts["versions"]
        )
        files["proof"] = str(plan.state_folder / "proof.json")
        return replace(report, facts={**report.facts, "proof_digest": proof.digest, "files": files})
    if not report.ok:
        discard_proof(plan)
    return replace(report, facts={**report.facts, "files": files})

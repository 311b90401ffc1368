"""Run every case on every side and judge what was seen: ``parity_check``.

The host project is imported in child processes only. Two lanes run at a time; each is one system under one set of
circumstances, so that the legacy systems run twice (another clock, hash seed and order) and show their own noise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from checks.cases import Case, CaseSet, load_cases
from checks.configuration import Configuration, fixture_command, load_configuration
from checks.lanes import Lane, Run, Surroundings, run_document, run_lane
from checks.parity_report import ParityReport
from checks.patterns import fits
from checks.verdict import concluded, judge
from checks.waivers import accept, load_waivers, pruned, write_lock
from checks.writers import write_reports
from migrator.errors import UnreachableError, UsageError
from migrator.events import Event, EventKind, Listener, ignore
from migrator.plan import Plan
from migrator.proof import discard_proof, paths_digest, source_digest, state_folder, tool_versions, write_proof

FIXTURE_START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
#: Variables that a child needs to find its interpreter and libraries; nothing else of the caller's gets through.
PASSED_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "LD_LIBRARY_PATH")
CLOCK_OFFSET_S = 2 * 3600 + 17 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityOptions:
    """How to run; the defaults are what a gate wants."""

    #: Folder of cases; the one that ``parity.toml`` names if None.
    cases: Path | None = None
    #: Another ``parity.toml``.
    configuration: Path | None = None
    #: Patterns of unified task names and case names; empty for all. A part of the cases gives no proof.
    tasks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    #: Child processes at a time.
    processes: int = 2
    #: A fresh process for each call.
    isolate: bool = False
    #: Run the legacy side twice to know its noise.
    noise: bool = True
    #: Ids of waivers whose present differences are accepted and written into the lock.
    accept: tuple[str, ...] = ()
    #: Drop accepted contents that no longer differ.
    prune: bool = False


@dataclass(slots=True)
class _Seen:
    """Observations by lane and key, filled by two threads that write different keys."""

    by_lane: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)


def parity_check(
    plan: Plan, *, environ: Mapping[str, str], options: ParityOptions, listener: Listener = ignore
) -> ParityReport:
    """Compare every mapped legacy task with its successor on every case.

    Args:
        plan: The plan; its project is run as it stands, with legacy and unified modules in place.
        environ: Where children find interpreter and libraries; broker and database URLs in it are never used.
        options: What to run and how.
        listener: Told about progress.

    Raises:
        UsageError: Cases, waivers or configuration are wrong, or the unified tasks are not installed.
        UnreachableError: The fixture server or the scratch broker does not come up.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    configuration = load_configuration(plan, file=options.configuration)
    if options.cases is not None:
        configuration = replace(configuration, cases=options.cases)
    check_installed(plan)
    chosen = load_cases(configuration.cases, plan)
    cases, whole = _selected(chosen, options)
    waivers = load_waivers(configuration.waivers)
    seen = _observe(plan, cases, configuration, (environ, options), listener)
    comparisons, disagreements = judge(plan, cases, seen, configuration.rules)
    open_mismatches = tuple(mismatch for comparison in comparisons for mismatch in comparison.mismatches)
    if options.accept:
        known = tuple(waiver.id for waiver in waivers.waivers)
        waivers = accept(open_mismatches, waivers, known if "all" in options.accept else options.accept)
    if options.prune and whole:
        waivers = pruned(open_mismatches, waivers)
    if options.accept or options.prune:
        write_lock(waivers)
    report = concluded(plan, comparisons, waivers, whole=whole)
    report = replace(
        report,
        disagreements=disagreements,
        started_at=started_at.isoformat(timespec="seconds"),
        elapsed_s=time.monotonic() - started,
        facts=_facts(plan, configuration),
    )
    return _published(plan, report, configuration)


def check_installed(plan: Plan) -> None:
    """Refuse a project without the unified modules.

    Raises:
        UsageError: A module of the plan's tasks is not in the source.
    """
    for module in sorted({task.path.rpartition(".")[0] for task in plan.tasks}):
        file = plan.source_root.joinpath(*module.split("."))
        if not file.with_suffix(".py").is_file() and not (file / "__init__.py").is_file():
            remedy = "run `migrator rewrite-imports` first: it installs them"
            raise UsageError(str(file.with_suffix(".py")), "the unified tasks are not in the source", remedy=remedy)


def lanes_for(cases: Sequence[Case], *, noise: bool) -> list[Lane]:
    """Return the lanes that a set of cases needs, the slowest to start first."""
    systems = ["unified", *sorted({call.mapping.system.value for case in cases for call in case.calls})]
    lanes = [Lane(name=system, system=system) for system in systems]
    again = [
        Lane(name=f"{system}-again", system=system, clock_offset_s=CLOCK_OFFSET_S, hash_seed=4711, backwards=True)
        for system in systems
    ]
    return [*lanes, *again] if noise else lanes


def runs_for(lane: Lane, cases: Sequence[Case]) -> list[Run]:
    """Return the calls of a lane in case order; the key says which case and legacy system asks."""
    return [
        Run(key=f"{case.name}|{call.mapping.system.value}|{call.mapping.name}", document=run_document(lane, case, call))
        for case in cases
        for call in case.calls
        if lane.system in ("unified", call.mapping.system.value)
    ]


@contextmanager
def fixture_server(configuration: Configuration, scratch: Path) -> Iterator[str]:
    """Run the project's fixture server, if it has one, and yield its ``host:port``."""
    if not configuration.upstream:
        yield ""
        return
    port_file = scratch / "fixture.port"
    command = fixture_command(configuration, port_file=port_file)
    with (scratch / "fixture.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        yield f"127.0.0.1:{_port(process, port_file, command)}"
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def _port(process: subprocess.Popen[bytes], port_file: Path, command: Sequence[str]) -> int:
    deadline = time.monotonic() + FIXTURE_START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if port_file.is_file() and (text := port_file.read_text().strip()):
            return int(text)
        time.sleep(0.01)
    raise UnreachableError(
        command[1] if len(command) > 1 else command[0],
        f"the fixture server did not write its port within {FIXTURE_START_TIMEOUT_S:g} s",
        remedy="run it by hand and look at what it prints",
    )


def _selected(chosen: CaseSet, options: ParityOptions) -> tuple[tuple[Case, ...], bool]:
    cases = tuple(
        case
        for case in chosen.cases
        if (not options.tasks or any(fits(pattern, case.task) for pattern in options.tasks))
        and (not options.names or any(fits(pattern, case.name) for pattern in options.names))
    )
    return cases, len(cases) == len(chosen.cases)


def _observe(
    plan: Plan,
    cases: Sequence[Case],
    configuration: Configuration,
    how: tuple[Mapping[str, str], ParityOptions],
    listener: Listener,
) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    environ, options = how
    logs = state_folder(plan) / "reports" / "parity-logs"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    lanes = lanes_for(cases, noise=options.noise) if cases else []
    seen = _Seen()
    total = sum(len(runs_for(lane, cases)) for lane in lanes)
    with tempfile.TemporaryDirectory(prefix="parity-") as folder, fixture_server(configuration, Path(folder)) as where:
        surroundings = Surroundings(
            plan=plan,
            configuration=configuration,
            scratch=Path(folder),
            logs=logs,
            environ={name: environ[name] for name in PASSED_VARIABLES if name in environ},
            upstream=where,
            isolate=options.isolate,
        )

        def work(lane: Lane) -> None:
            answers = seen.by_lane.setdefault(lane.name, {})
            for run, answer in run_lane(lane, runs_for(lane, cases), surroundings):
                answers[run.key] = answer
                done = sum(map(len, seen.by_lane.values()))
                listener(Event(kind=EventKind.PROGRESS, step="parity", text=lane.name, done=done, total=total))

        with ThreadPoolExecutor(max_workers=max(1, options.processes)) as pool:
            for future in [pool.submit(work, lane) for lane in lanes]:
                future.result()
    return seen.by_lane


def _facts(plan: Plan, configuration: Configuration) -> dict[str, Any]:
    return {
        "source_digest": source_digest(plan),
        "cases_digest": paths_digest((configuration.cases,)),
        "versions": tool_versions(),
        "cases_folder": str(configuration.cases.resolve()),
        "processors": os.cpu_count(),
    }


def _published(plan: Plan, report: ParityReport, configuration: Configuration) -> ParityReport:
    """Write the documents, then the proof if the run was green and whole; a red run takes an old proof away."""
    files = write_reports(report, plan.state_folder / "reports")
    if report.ok and report.whole:
        lock = configuration.waivers.with_suffix(".lock.json")
        source = plan.folder / "parity.toml"
        paths = (configuration.cases, configuration.waivers, lock, source)
        proof = write_proof(plan, case_paths=paths, counts=report.counts)
        files["proof"] = str(plan.state_folder / "proof.json")
        return replace(report, facts={**report.facts, "proof_digest": proof.digest, "files": files})
    if not report.ok:
        discard_proof(plan)
    return replace(report, facts={**report.facts, "files": files})

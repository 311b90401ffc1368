"""Rewrite a project as its plan says: every rewrite over one parse of each file, all files or none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from codemods.files.locking import locked
from codemods.files.package_names import package_outcomes
from codemods.files.record import FileRecord, RunRecord, created_files, digest, head_commit, read_record, write_durably
from codemods.files.text_files import text_outcomes
from codemods.files.writer import pending, recover, write_all
from codemods.findings import findings, without_dismissed
from codemods.install.files import plan_installation
from codemods.outcome import FileOutcome
from codemods.pipeline.process_pool import process_pool
from codemods.pipeline.project import WhileParsing, build_index, rewrite_project
from codemods.report import FileChange, Mode, RewriteReport
from codemods.syntax.diffs import undo_part
from migrator.errors import InterruptedRunError, UsageError
from migrator.inventory.source_files import SourceFiles
from migrator.plan.model import Plan
from migrator.report import Finding, Report, Severity


def rewrite(
    plan: Plan,
    *,
    paths: Sequence[Path] = (),
    mode: Mode = Mode.WRITE,
    text: bool = False,
    mark: bool = False,
    while_parsing: WhileParsing | None = None,
) -> RewriteReport:
    """Rewrite the source of a plan's project.

    Args:
        plan: What becomes what; its folder is the tree.
        paths: Files and folders to which changes are restricted; empty for everything and the installation.
        mode: WRITE writes all files or none and leaves an undo patch; the others change nothing.
        text: Rewrite deployment files and documentation too, where that is certain.
        mark: Write a comment above each place that is left alone.
        while_parsing: Called before anything is written, while files are parsed, with what was read of the tree; an
            exception it raises ends the run.

    Raises:
        UsageError: A path lies outside the plan's folder.
        RefusedError: A file changed while the rewrite ran; nothing was written.
        InterruptedRunError: An interrupted write waits to be completed and this mode may not write.
    """
    choice = Choice(mode=mode, text=text, mark=mark, while_parsing=while_parsing)
    if mode is not Mode.WRITE:
        if pending(plan):
            raise InterruptedRunError(
                str(plan.folder), "an interrupted rewrite is not finished", remedy="run `migrator rewrite-imports`"
            )
        return _run(plan, paths, choice)[0]
    with locked(plan):
        recover(plan)
        report, contents = _run(plan, paths, choice)
        return _write(plan, report, contents) if contents else report


def finish_interrupted(plan: Plan) -> str:
    """Complete or remove what an interrupted write left behind; return what was done, or an empty string.

    A tree that is half old and half new fits no plan, so this comes before the plan is checked.

    Raises:
        RefusedError: Another rewrite is running, or a file was changed since.
    """
    if not pending(plan):
        return ""
    with locked(plan):
        return recover(plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a run was asked for."""

    mode: Mode
    text: bool
    mark: bool
    while_parsing: WhileParsing | None = None


def _run(plan: Plan, paths: Sequence[Path], choice: Choice) -> tuple[RewriteReport, dict[Path, bytes]]:
    started = time.monotonic()
    only = _restrict(plan, paths)
    named: list[FileOutcome] = []
    with process_pool(plan.folder) as workers:
        index = replace(build_index(plan, workers.sources), mark=choice.mark)
        created = created_files(read_record(plan))
        installation = plan_installation(plan, created=created, app=index.needs_app)

        def while_parsing(sources: SourceFiles) -> None:
            if choice.while_parsing is not None:
                choice.while_parsing(sources)
            named.extend(text_outcomes(plan, index, sources, write=choice.text))
            listed = {(outcome.shown, left.line) for outcome in named for left in outcome.leftovers}
            named.extend(package_outcomes(plan, index, sources, listed))

        skip = index.retire | frozenset(installation.files)
        found = rewrite_project(plan, index, workers, skip=skip, only=only, while_parsing=while_parsing)
    found.outcomes += [o for o in named if not only or any(o.file.is_relative_to(place) for place in only)]
    installed = () if only else installation.to_write
    changed = tuple(_change(outcome) for outcome in found.outcomes if outcome.after != outcome.before)
    changed += tuple(_updated(plan, file, installation.files[file]) for file in installed if file.exists())
    contents = {change.file: change.after for change in changed}
    contents |= {file: installation.files[file] for file in installed}
    report = RewriteReport(
        mode=choice.mode,
        changed=changed,
        created=tuple(str(file.relative_to(plan.folder)) for file in installed if not file.exists()),
        findings=tuple(
            without_dismissed(plan, findings(plan, found.outcomes, installation, index.beat), whole=not only)
        ),
        unparsable=tuple((o.shown, o.unparsable) for o in found.outcomes if o.unparsable),
        files_seen=found.files_seen,
        files_parsed=len(found.outcomes),
        elapsed_s=time.monotonic() - started,
    )
    return report, contents


def _restrict(plan: Plan, paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        full = path.resolve()
        if not full.is_relative_to(plan.folder):
            raise UsageError(str(path), "lies outside the plan's folder", found=str(plan.folder))
        if not full.exists():
            raise UsageError(str(path), "there is no such file or folder")
        found.append(full)
    return found


def _change(outcome: FileOutcome) -> FileChange:
    return FileChange(
        file=outcome.file,
        shown=outcome.shown,
        before=outcome.before,
        after=outcome.after,
        edits=outcome.edits,
    )


def _updated(plan: Plan, file: Path, content: bytes) -> FileChange:
    shown, before = str(file.relative_to(plan.folder)), file.read_bytes()
    return FileChange(file=file, shown=shown, before=before, after=content, edits={"installation": 1})


def _write(plan: Plan, report: RewriteReport, contents: Mapping[Path, bytes]) -> RewriteReport:
    before = {file: file.read_bytes() for file in contents if file.exists()}
    expected = {change.file: change.before for change in report.changed}
    before |= expected
    run = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    patch = plan.state_folder / "undo" / f"{run}.patch"
    records = []
    undo = []
    for file, data in contents.items():
        shown = str(file.relative_to(plan.folder))
        old = before.get(file)
        records.append(
            FileRecord(
                path=shown, before=digest(old) if old is not None else "", after=digest(data), created=old is None
            )
        )
        undo.append(undo_part(shown, old, data))
    entry = RunRecord(
        id=run,
        commit=head_commit(plan),
        plan=plan.fingerprint,
        at=datetime.now(UTC).isoformat(),
        patch=str(patch.relative_to(plan.state_folder)),
        files=tuple(records),
    )
    write_durably(patch, "".join(undo).encode("utf-8", errors="surrogateescape"))
    runs = (*read_record(plan), entry)
    write_all(plan, run=run, contents=dict(contents), before=before, runs=runs)
    return replace(report, patch=patch)


def check_rewritten(plan: Plan) -> Report:
    """Return whether the rewrite has nothing to do; changes nothing.

    A file that would change, be created or can't be parsed is an error, and so is a unified task that calls what the
    cutover removes. Places that were left for a person are warnings: whether they matter tonight is that person's
    decision, and they stay listed.
    """
    report = rewrite(plan, mode=Mode.CHECK)
    findings = [
        finding
        if finding.code in {"UNPARSABLE", "EXISTS", "DELEGATES"}
        else replace(finding, severity=Severity.WARNING)
        for finding in report.findings
    ]
    for shown in (*(change.shown for change in report.changed), *report.created):
        findings.append(
            Finding(
                code="SOURCE-NOT-CONVERTED",
                severity=Severity.ERROR,
                where=shown,
                what="the rewrite would change or create it",
                remedy="run `migrator rewrite-imports` and commit",
            )
        )
    return Report(subject="source", checked=report.files_seen, findings=tuple(findings), facts=report.counts)

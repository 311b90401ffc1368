"""Undo recorded rewrites: every file as it was before the first of them, created files removed.

Refuses as a whole if a file was changed since. Calling it again after it succeeded changes nothing and says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from codemods.files.locking import locked
from codemods.files.record import RunRecord, backup_file, digest, read_record
from codemods.files.writer import recover, write_all
from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.report import Finding, Report, Severity


def undo_rewrite(plan: Plan, *, overwrite: bool = False) -> tuple[str, ...]:
    """Take every recorded rewrite back that was not taken back yet.

    Args:
        plan: Its folder is the tree.
        overwrite: Restore files too that were changed since; only where the changes are kept elsewhere, as in git.

    Returns:
        The restored and removed paths, relative to the plan's folder; those of the last undo if all is undone already.

    Raises:
        RefusedError: A file was changed since; nothing was restored.
    """
    with locked(plan):
        recover(plan)
        runs = read_record(plan)
        open_runs = in_the_tree(plan, runs)
        if not open_runs:
            return _last_undone(runs)
        problems = [] if overwrite else list(_changed_since(plan, open_runs))
        if problems:
            raise RefusedError(
                problems[0].where,
                f"{len(problems)} file(s) were changed since the rewrite",
                found=", ".join(problem.where for problem in problems[:5]),
                remedy="undo those changes first, or apply the patch in .migrator/undo by hand",
            )
        contents: dict[Path, bytes | None] = {}
        before: dict[Path, bytes] = {}
        for path, (oldest, _) in _span(open_runs).items():
            file = plan.folder / path
            created = next(f.created for f in oldest.files if f.path == path)
            if file.exists():
                before[file] = file.read_bytes()
            if created:
                if file.exists():
                    contents[file] = None
            else:
                contents[file] = backup_file(plan, oldest.id, path).read_bytes()
        stamp = datetime.now(UTC)
        done = tuple(replace(run, undone_at=stamp.isoformat()) if run in open_runs else run for run in runs)
        run_id = stamp.strftime("%Y%m%dT%H%M%S.%fZ-undo")
        write_all(plan, run=run_id, contents=contents, before=before, runs=done)
        _remove_empty_folders(plan, contents)
        return tuple(sorted(_span(open_runs)))


def check_undo(plan: Plan) -> Report:
    """Return whether the recorded rewrites can be taken back as the tree stands; changes nothing."""
    open_runs = in_the_tree(plan, read_record(plan))
    paths = _span(open_runs)
    findings = tuple(_changed_since(plan, open_runs))
    return Report(
        subject="undo of the rewrite", checked=max(len(paths), 1), findings=findings, facts={"files": len(paths)}
    )


def in_the_tree(plan: Plan, runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Return the runs that were not undone; or those undone last, if git has brought a file of theirs back since."""
    found = [run for run in runs if not run.undone_at]
    last = max((run.undone_at for run in runs), default="")
    again = [run for run in runs if run.undone_at == last]
    return found or (again if any(_is_back(plan, path, *ends) for path, ends in _span(again).items()) else [])


def _is_back(plan: Plan, path: str, first: RunRecord, last: RunRecord) -> bool:
    file = plan.folder / path
    after = next(f.after for f in last.files if f.path == path)
    before = next(f.before for f in first.files if f.path == path)
    return after != before and file.is_file() and digest(file.read_bytes()) == after


def _span(runs: Sequence[RunRecord]) -> dict[str, tuple[RunRecord, RunRecord]]:
    """Return the first and the last run of each path."""
    found: dict[str, tuple[RunRecord, RunRecord]] = {}
    for run in runs:
        for file in run.files:
            first = found[file.path][0] if file.path in found else run
            found[file.path] = (first, run)
    return found


def _changed_since(plan: Plan, runs: Sequence[RunRecord]) -> Iterator[Finding]:
    for path, (first, last) in _span(runs).items():
        file = plan.folder / path
        after = next(f.after for f in last.files if f.path == path)
        origin = next(f for f in first.files if f.path == path)
        now = digest(file.read_bytes()) if file.exists() else ""
        if now in {after, origin.before}:
            continue
        yield Finding(
            code="UNDO-CHANGED",
            severity=Severity.ERROR,
            where=path,
            what="was changed or removed since the rewrite",
            remedy="undo that change first, or apply the patch in .migrator/undo by hand",
        )


def _last_undone(runs: Sequence[RunRecord]) -> tuple[str, ...]:
    last = max((run.undone_at for run in runs), default="")
    return tuple(sorted(_span([run for run in runs if run.undone_at == last]))) if last else ()


def _remove_empty_folders(plan: Plan, contents: dict[Path, bytes | None]) -> None:
    folders = {parent for file, data in contents.items() if data is None for parent in file.parents}
    for folder in sorted(folders, key=lambda item: len(item.parts), reverse=True):
        if not folder.is_relative_to(plan.folder) or folder == plan.folder or not folder.is_dir():
            continue
        cache = folder / "__pycache__"
        if cache.is_dir() and all(item == cache for item in folder.iterdir()):
            for item in cache.iterdir():
                item.unlink()
            cache.rmdir()
        if not any(folder.iterdir()):
            folder.rmdir()

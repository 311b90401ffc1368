"""Is the source what was proven, complete in the plan, converted, and committed?

Source: git-status(1), porcelain format: two letters, then the path.
"""

from __future__ import annotations

from collections.abc import Iterator

from migrator.errors import MigratorError
from migrator.inventory.plan_check import check_complete
from migrator.inventory.retired_imports import retired_imports
from migrator.inventory.scan import scan
from migrator.project.commands import git
from migrator.report import Finding, Report, merge
from migrator.state.proof import read_proof, verify_proof
from migrator.steps.protocol import Context, error, findings_report, warning

#: Files in the git folder that say that something else is half done.
UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")


def guard(context: Context) -> Report:
    """Return what stands against this source tree."""
    options = context.options
    proof = options.check_proof() if options.check_proof else verify_proof(context.plan, read_proof(context.plan))
    complete = (
        options.check_inventory()
        if options.check_inventory
        else check_complete(context.plan, scan(context.plan.source_root))
    )
    parts = [proof, complete, findings_report("git", list(_git(context)))]
    parts.append(findings_report("files to retire", list(retired_imports(context.plan))))
    if options.check_source is not None:
        parts.append(options.check_source())
    else:
        unchecked = warning(
            "SOURCE-NOT-CHECKED", "source", "nobody has checked that it is converted", remedy="rewrite-imports --check"
        )
        parts.append(findings_report("source", [unchecked]))
    return merge("source", parts)


def clean_tree(context: Context) -> Report:
    """Return whether git has everything that a rollback would overwrite; files being retired don't count."""
    try:
        status = git(context.plan, "status", "--porcelain", "--untracked-files=no", "--", ".", environ=context.environ)
    except MigratorError as failure:
        found = error("GIT-MISSING", str(context.plan.folder), "git does not answer", found=failure.found)
        return findings_report("git", [found])
    quarantined = [line for line in status.splitlines() if not line.endswith(context.plan.project.retire)]
    return findings_report("git", list(_tree("\n".join(quarantined))))


def _git(context: Context) -> Iterator[Finding]:
    try:
        folder = git(context.plan, "rev-parse", "--absolute-git-dir", environ=context.environ)
        status = git(context.plan, "status", "--porcelain", "--", ".", environ=context.environ)
    except MigratorError as failure:
        yield error(
            "GIT-MISSING",
            str(context.plan.folder),
            "is not in a git repository",
            found=failure.found,
            remedy="files are only retired in a commit: put the project under git",
        )
        return
    yield from _tree(status)
    from pathlib import Path

    for name in UNFINISHED:
        if (Path(folder) / name).exists():
            yield error("GIT-BUSY", folder, "something else is half done", found=name, remedy="finish or abort it")
    try:
        git(context.plan, "var", "GIT_COMMITTER_IDENT", environ=context.environ)
    except MigratorError as failure:
        remedy = "git config user.name … and user.email …"
        yield error("GIT-IDENTITY", "git", "doesn't know who commits", found=failure.found, remedy=remedy)


def _tree(status: str) -> Iterator[Finding]:
    lines = status.splitlines()
    changed = [line for line in lines if not line.startswith("??")]
    unknown = [line[3:] for line in lines if line.startswith("??")]
    if changed:
        yield error(
            "GIT-DIRTY",
            "git",
            f"{len(changed)} files differ from HEAD",
            found=", ".join(line.strip() for line in changed[:3]),
            remedy="commit the converted source first, so that there is something to go back to",
        )
    if unknown:
        yield warning(
            "GIT-UNTRACKED",
            "git",
            f"{len(unknown)} files are not under version control",
            found=", ".join(unknown[:3]),
            remedy="add or ignore them; a rollback does not touch them",
        )

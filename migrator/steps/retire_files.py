"""Take the legacy files out of the tree, in one commit on the operator's branch; never `rm`.

Undo restores exactly these files from the commit before, in a commit of its own: history is not rewritten.
"""

from __future__ import annotations

import shlex
from functools import partial

from migrator.errors import RefusedError
from migrator.inventory.retired_imports import retired_imports
from migrator.project.commands import git
from migrator.report import Report
from migrator.steps.actions.git_commit import commit_command, commit_paths, find_commit
from migrator.steps.protocol import Action, Context, Facts, Step, error, findings_report, nothing_to_do

NAME = "retire_files"
SUBJECT, RESTORED = "Retire the legacy task modules", "Restore the legacy task modules"


def check(context: Context) -> Report:
    """The files are as they were committed, and nothing that stays needs them."""
    files = context.plan.project.retire
    if not files:
        return findings_report("files to retire", ())
    changed = git(context.plan, "status", "--porcelain", "--", *files, environ=context.environ)
    ours = bool(changed) and all(line.strip().startswith("D ") for line in changed.splitlines())
    findings = list(retired_imports(context.plan))
    if changed and not ours:
        findings.append(
            error(
                "RETIRE-CHANGED", "files to retire", "differ from HEAD", found=changed, remedy="commit or restore them"
            )
        )
    return findings_report("files to retire", findings, checked=len(files))


def actions(context: Context) -> tuple[Action, ...]:
    """Remove and commit."""
    files = context.plan.project.retire
    if not files:
        return nothing_to_do(context)
    return (Action(id="commit", sentence=f"git rm {' '.join(files)} and commit", run=partial(_retire, context, files)),)


def verify(context: Context) -> Report:
    """None of the files is in the tree."""
    there = [file for file in context.plan.project.retire if (context.plan.folder / file).exists()]
    return findings_report(
        "files are retired", [error("RETIRE-STILL-THERE", file, "is still in the tree") for file in there]
    )


def undo(context: Context) -> tuple[Action, ...]:
    """Restore the files and commit."""
    files = context.plan.project.retire
    if not files:
        return nothing_to_do(context)
    sentence = f"restore {' '.join(files)} from the commit before and commit"
    return (Action(id="restore", sentence=sentence, run=partial(_restore, context, files)),)


def cannot_undo(context: Context) -> tuple[str, ...]:
    """Return what stays in the history."""
    return ("the commits stay in the history; a rollback adds commits of its own",)


def _retire(context: Context, files: tuple[str, ...]) -> Facts:
    """Remove and commit; a verified system stays as it is if git refuses the commit, which then is made by hand."""
    if not find_commit(context, "retire"):
        git(context.plan, "rm", "--quiet", "--ignore-unmatch", "--", *files, environ=context.environ)
    try:
        return {"commit": commit_paths(context, "retire", subject=SUBJECT, paths=files), "files": files}
    except RefusedError as refusal:
        command = shlex.join(["git", *commit_command(context, "retire", subject=SUBJECT, paths=files)])
        text = f"the removal of {', '.join(files)} is staged and not committed: {refusal.found or refusal.what}"
        return {"files": files, "notes": [text], "by_hand": command}


def _restore(context: Context, files: tuple[str, ...]) -> Facts:
    retired = find_commit(context, "retire")
    if not retired or find_commit(context, "restore"):
        git_state = "already restored" if retired else "never retired"
        commit = find_commit(context, "restore")
        if not retired:
            _restore_uncommitted(context, files)
            commit = commit_paths(context, "restore", subject=RESTORED, paths=files, way_back=True)
        return {"commit": commit, "note": git_state}
    names = ("diff", "--relative", "--name-only", "--diff-filter=D", f"{retired}~1", retired)
    removed = git(context.plan, *names, environ=context.environ).splitlines()
    for file in removed:
        _refuse_foreign(context, file, f"{retired}~1")
    git(
        context.plan,
        "restore",
        "--staged",
        "--worktree",
        f"--source={retired}~1",
        "--",
        *removed,
        environ=context.environ,
    )
    commit = commit_paths(context, "restore", subject=RESTORED, paths=removed, way_back=True)
    return {"commit": commit, "files": removed}


def _restore_uncommitted(context: Context, files: tuple[str, ...]) -> None:
    """Bring back files whose removal was staged but not committed, or committed by somebody in other words."""
    for file in (file for file in files if not (context.plan.folder / file).exists()):
        source = "HEAD"
        if not git(context.plan, "ls-tree", "--name-only", "-r", "HEAD", "--", file, environ=context.environ):
            deleting = ("log", "-1", "--format=%H~1", "--diff-filter=D", "--", file)
            source = git(context.plan, *deleting, environ=context.environ)
        if source:
            restore = ("restore", "--staged", "--worktree", f"--source={source}")
            git(context.plan, *restore, "--", file, environ=context.environ)


def _refuse_foreign(context: Context, file: str, revision: str) -> None:
    path = context.plan.folder / file
    if not path.exists():
        return
    now = git(context.plan, "hash-object", "--", file, environ=context.environ)
    before = git(context.plan, "rev-parse", f"{revision}:./{file}", environ=context.environ)
    if now != before:
        raise RefusedError(
            file, "somebody has made another file of this name", found=now[:12], remedy="move it away, run again"
        )


STEP = Step(
    name=NAME,
    title="Retire the legacy files",
    check=check,
    actions=actions,
    verify=verify,
    undo=undo,
    cannot_undo=cannot_undo,
)

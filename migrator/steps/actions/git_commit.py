"""One commit on the operator's branch for what a step changed, found again by a trailer in its message.

The trailer ``Migrator-Run: <plan>/<run>/<what>`` makes committing repeatable: after a crash the commit is found
instead of made twice. Only the named paths are committed; nothing else in the tree or the index is touched.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrator.errors import RefusedError
from migrator.project.commands import git
from migrator.steps.protocol import Context, note

TRAILER = "Migrator-Run"


def find_commit(context: Context, what: str) -> str:
    """Return the hash of the commit that this run made for ``what``; empty if there is none."""
    pattern = f"^{TRAILER}: {_key(context, what)}$"
    return git(
        context.plan, "log", "-1", "--format=%H", "--extended-regexp", f"--grep={pattern}", environ=context.environ
    )


def commit_paths(context: Context, what: str, *, subject: str, paths: Iterable[str], way_back: bool = False) -> str:
    """Commit exactly these paths as they are in the tree, and return the hash; empty if they don't differ from HEAD.

    A commit of a rollback brings back what was committed before: no hook and no missing signature may stand between
    the operator and the legacy system, so one that is refused is made without them.
    """
    done = find_commit(context, what)
    if done:
        return done
    wanted = tuple(paths)
    stageable = [path for path in wanted if (context.plan.folder / path).exists() or _listed(context, "ls-files", path)]
    if stageable:
        git(context.plan, "add", "--all", "--", *stageable, environ=context.environ)
    chosen = [path for path in wanted if path in stageable or _listed(context, "ls-tree", "--name-only", "HEAD", path)]
    if not chosen:
        return ""
    changed = git(context.plan, "diff", "--cached", "--name-only", "HEAD", "--", *chosen, environ=context.environ)
    if not changed:
        return ""
    committing = commit_command(context, what, subject=subject, paths=chosen)
    clean = _changed(context)
    signing: tuple[str, ...] = ()
    try:
        git(context.plan, *committing, environ=context.environ)
    except RefusedError as refusal:
        if not way_back:
            raise
        note(context, "source", f"{refusal.found or refusal.what}; committed without hooks and signature")
        signing = ("-c", "commit.gpgsign=false")
        git(context.plan, *signing, *committing[:1], "--no-verify", *committing[1:], environ=context.environ)
    others = sorted(_changed(context) - clean)
    if others:
        # A hook changed them: in the same commit they stand in nobody's way.
        note(context, "source", f"a hook of git changed {', '.join(others[:3])}: committed as well")
        git(context.plan, "add", "--all", "--", *others, environ=context.environ)
        amending = ("commit", "--quiet", "--amend", "--no-edit", "--no-verify")
        git(context.plan, *signing, *amending, environ=context.environ)
    return git(context.plan, "rev-parse", "HEAD", environ=context.environ)


def commit_command(context: Context, what: str, *, subject: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return git's words for that commit; made by hand, it is found again as well."""
    message = ("--message", subject, "--message", f"{TRAILER}: {_key(context, what)}")
    return ("commit", "--quiet", *message, "--", *paths)


def _changed(context: Context) -> set[str]:
    """Return the tracked files that differ from HEAD, or from what is staged."""
    listing = ("diff", "--relative", "--name-only")
    found = (git(context.plan, *listing, *more, environ=context.environ) for more in ((), ("--cached",)))
    return {name for names in found for name in names.splitlines()}


def head(context: Context) -> str:
    """Return the hash of HEAD."""
    return git(context.plan, "rev-parse", "HEAD", environ=context.environ)


def _listed(context: Context, *arguments: str) -> bool:
    *command, path = arguments
    return bool(git(context.plan, *command, "--", path, environ=context.environ))


def _key(context: Context, what: str) -> str:
    began = next((entry.at for entry in context.journal.entries(context.run)), None)
    stamp = f"{began:%Y%m%dT%H%M%S}" if began is not None else "dry"
    return f"{context.plan.name}/{context.run}/{stamp}/{what}"

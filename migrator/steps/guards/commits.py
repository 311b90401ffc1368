"""Would git take the commits of this run: hooks, protected branches and signatures, tried before anything is stopped?

A run commits at its end, when nobody wants a refusal. So the commit is tried in a throwaway worktree of the same
branch: the files are removed there, the hooks are run as `git commit` runs them, and a signature is made for a commit
object that nothing refers to. No branch moves and no file of the project is touched.
Source: git-hook(1), githooks(5), git-worktree(1) (``--force`` checks a branch out twice), git-commit-tree(1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from migrator.errors import MigratorError
from migrator.project.commands import git
from migrator.project.legacy_tree import link_ignored
from migrator.report import Finding, Report
from migrator.steps.protocol import Context, error, findings_report, warning
from migrator.steps.retire_files import SUBJECT

HOOKS = ("pre-commit", "prepare-commit-msg", "commit-msg")


def guard(context: Context) -> Report:
    """Return what would refuse or change the commit that retires the legacy files."""
    files = context.plan.project.retire
    if not files:
        return findings_report("commits", ())
    return findings_report("commits", list(_tried(context, files)))


def _tried(context: Context, files: tuple[str, ...]) -> Iterator[Finding]:
    plan, environ = context.plan, context.environ
    with TemporaryDirectory(prefix="commit-trial-") as scratch:
        tree = Path(scratch) / "tree"
        try:
            branch = git(plan, "rev-parse", "--abbrev-ref", "HEAD", environ=environ)
            add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--force")
            git(plan, *add, str(tree), branch, environ=environ)
        except MigratorError as failure:
            remedy = "the last step commits the retired files: see that nothing refuses it"
            yield warning("COMMIT-NOT-TRIED", "git", "the commit can't be tried", found=failure.found, remedy=remedy)
            return
        try:
            yield from _in_tree(context, tree, files)
        finally:
            git(plan, "worktree", "remove", "--force", "--force", str(tree), environ=environ)


def _in_tree(context: Context, tree: Path, files: tuple[str, ...]) -> Iterator[Finding]:
    plan, environ = context.plan, context.environ
    link_ignored(plan, tree, environ)
    prefix = git(plan, "rev-parse", "--show-prefix", environ=environ)
    paths = [f"{prefix}{file}" for file in files]
    git(plan, "-C", str(tree), "rm", "-r", "--quiet", "--ignore-unmatch", "--", *paths, environ=environ)
    before = _changes(context, tree)
    message = tree.with_name("message")
    message.write_text(f"{SUBJECT}\n", encoding="utf-8")
    arguments = {HOOKS[0]: (), HOOKS[1]: (str(message), "message"), HOOKS[2]: (str(message),)}
    for hook in HOOKS:
        try:
            given = ("--", *arguments[hook]) if arguments[hook] else ()
            git(plan, "-C", str(tree), "hook", "run", "--ignore-missing", hook, *given, environ=environ)
        except MigratorError as failure:
            what = "would refuse the commit that retires the legacy files"
            remedy = "let it accept that commit, or take the files out of `retire` and remove them yourself afterwards"
            yield error("COMMIT-REFUSED", f"hook {hook}", what, found=failure.found, remedy=remedy)
    others = sorted(_changes(context, tree) - before)
    if others:
        what = "change other files than the commit is about; they would be committed with it"
        remedy = "run them once and commit what they change"
        yield warning("COMMIT-HOOK-CHANGES", "git hooks", what, found=", ".join(others[:3]), remedy=remedy)
    yield from _signed(context, tree)


def _signed(context: Context, tree: Path) -> Iterator[Finding]:
    plan, environ = context.plan, context.environ
    try:
        wanted = git(plan, "config", "--type=bool", "--default=false", "commit.gpgsign", environ=environ)
        if wanted == "true":
            git(plan, "-C", str(tree), "commit-tree", "-S", "-m", "trial", "HEAD^{tree}", environ=environ)
    except MigratorError as failure:
        remedy = "unlock the key (gpg-agent, ssh-add), or `git config commit.gpgsign false` for this repository"
        yield error("COMMIT-REFUSED", "git", "can't sign the commit", found=failure.found, remedy=remedy)


def _changes(context: Context, tree: Path) -> set[str]:
    status = git(context.plan, "-C", str(tree), "status", "--porcelain", environ=context.environ)
    return {line.strip().partition(" ")[2].strip() for line in status.splitlines()}

"""The project as it was before the rewrite, for what needs the legacy side of a plan that converts tasks in place.

A git worktree of the last commit that has every actor of the plan. It is found in the history, so a fresh clone has it
too. Files that git ignores (``.env``, a SQLite database, uploads) are links to those of the project.
Source: git-worktree(1); gitignore(5); SQLite resolves links before it names its journal (os_unix.c, unixFullPathname).
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from migrator.errors import MigratorError, RefusedError
from migrator.inventory.in_place import converted
from migrator.plan.model import Plan
from migrator.project.commands import ask_agent, git
from migrator.state.state_folder import ensure_state_folder

#: Below the state folder: a tree for each commit, and beside it an empty file that says that it is whole.
TREES = "legacy"
#: So many commits that change the modules of the tasks are looked at.
_DEPTH = 100
#: Ignored files that a tree makes for itself.
_OWN = ("__pycache__", ".pyc", "_cache")


def legacy_folder(plan: Plan, *, environ: Mapping[str, str]) -> Path:
    """Return the plan's folder with the legacy source: its own while nothing is converted, else one in a worktree.

    Raises:
        RefusedError: No commit has the legacy source, or git refused.
    """
    if not converted(plan, plan.source_root):
        return plan.folder
    commit = _legacy_commit(plan, environ)
    tree = ensure_state_folder(plan) / TREES / commit[:12]
    whole = tree.with_suffix(".whole")
    if not (tree.is_dir() and whole.exists()):
        whole.unlink(missing_ok=True)
        _remove(plan, tree, environ)
        # No hook of the project runs in a tree of ours.
        add = ("-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--force", "--detach")
        git(plan, *add, str(tree), commit, environ=environ)
        whole.touch()
    link_ignored(plan, tree, environ)
    return tree / _below(plan, environ)


def legacy_trees(plan: Plan) -> tuple[Path, ...]:
    """Return the worktrees that were made."""
    trees = plan.state_folder / TREES
    return tuple(tree for tree in sorted(trees.iterdir()) if tree.is_dir()) if trees.is_dir() else ()


def remove_legacy_trees(plan: Plan, *, environ: Mapping[str, str]) -> None:
    """Remove them; what their links name stays."""
    for tree in legacy_trees(plan):
        _remove(plan, tree, environ)
    shutil.rmtree(plan.state_folder / TREES, ignore_errors=True)


def own_paths(plan: Plan, folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the settings that lead a process of the legacy folder to files of its own, as ``NAME: path``.

    Raises:
        MigratorError: The settings can't be imported there.
    """
    words, root = (plan.project.settings, str(folder)), folder / plan.project.root
    found = ask_agent(plan, "paths_probe", *words, folder=root, environ=environ)
    return tuple(f"{name}: {path}" for name, path in found)


def in_tree(plan: Plan, folder: Path, text: str) -> str:
    """Return a path of the project as one of its legacy folder; any other text, and what isn't there, unchanged."""
    path = Path(text)
    if folder == plan.folder or not path.is_relative_to(plan.folder) or path.is_relative_to(plan.state_folder):
        return text
    there = folder / path.relative_to(plan.folder)
    return str(there) if there.exists() else text


def _legacy_commit(plan: Plan, environ: Mapping[str, str]) -> str:
    for commit in dict.fromkeys(_candidates(plan, environ)):
        if _has_legacy_source(plan, commit, environ):
            return commit
    raise RefusedError(
        str(plan.folder),
        "no commit has every actor of the plan as it was before the rewrite",
        found=", ".join(mapping.path for mapping in converted(plan, plan.source_root)[:3]),
        remedy="commit the source before `migrator rewrite-imports`; in a shallow clone run `git fetch --unshallow`",
    )


def _candidates(plan: Plan, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the commit that is checked out, and those before each change of a task's module, newest first."""
    yield git(plan, "rev-parse", "HEAD", environ=environ)
    modules = {mapping.path.rpartition(".")[0].replace(".", "/") for mapping in converted(plan, plan.source_root)}
    names = [f"{plan.project.root}/{module}" for module in sorted(modules)]
    paths = [path for name in names for path in (f"{name}.py", f"{name}/__init__.py")]
    command = ("log", "--first-parent", f"--max-count={_DEPTH}", "--format=%P", "--", *paths)
    for line in git(plan, *command, environ=environ).splitlines():
        yield from line.split()[:1]


def _has_legacy_source(plan: Plan, commit: str, environ: Mapping[str, str]) -> bool:
    with TemporaryDirectory(prefix="commit-") as scratch:
        archive = Path(scratch) / "source.tar"
        try:
            git(plan, "archive", f"--output={archive}", commit, "--", plan.project.root, environ=environ)
        except RefusedError:  # that commit has no such folder
            return False
        with tarfile.open(archive) as opened:
            opened.extractall(scratch, [m for m in opened if m.isfile() and m.name.endswith(".py")], filter="data")
        return not converted(plan, Path(scratch) / plan.project.root)


def link_ignored(plan: Plan, tree: Path, environ: Mapping[str, str]) -> None:
    """Link what git ignores in the project into a tree, unless it is there."""
    top = Path(git(plan, "rev-parse", "--show-toplevel", environ=environ))
    command = ("ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
    for name in git(plan, "-C", str(top), *command, environ=environ).split("\0"):
        path = top / name.rstrip("/")
        if not name or path.name.endswith(_OWN) or path.is_relative_to(plan.state_folder):
            continue
        link = tree / path.relative_to(top)
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path)


def _below(plan: Plan, environ: Mapping[str, str]) -> str:
    """Return the plan's folder below the top of the repository."""
    return git(plan, "rev-parse", "--show-prefix", environ=environ)


def _remove(plan: Plan, tree: Path, environ: Mapping[str, str]) -> None:
    """Remove a tree, also one whose making was interrupted, and what git remembers of it."""
    if os.path.lexists(tree):
        try:
            git(plan, "worktree", "remove", "--force", "--force", str(tree), environ=environ)
        except MigratorError:  # it was interrupted before git knew it
            shutil.rmtree(tree)
    git(plan, "worktree", "prune", environ=environ)

"""A scratch copy of the sample project in its own git repository, with the environment of its processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from migrator.errors import UsageError
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.project.commands import manage as manage_project

GIT_TIMEOUT_S = 60.0
#: What the sample imports; the extra ``sample`` installs them.
SAMPLE_PACKAGES = ("django", "dramatiq", "httpx", "talib")
IDENTITY = ("-c", "user.name=migrator demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scratch:
    """One scratch system; everything in it may be deleted."""

    folder: Path
    plan: Plan
    #: Environment of every process of the sample.
    environ: Mapping[str, str]

    @property
    def audit_folder(self) -> Path:
        """Folder of the audit files, in which the sample's processes record what they run."""
        return self.folder / "audit"

    @property
    def old_release(self) -> Path:
        """A second checkout of the sample before the migration: the release that is still deployed elsewhere."""
        return self.folder / "old-release"


def find_fixtures(given: Path | None) -> Path:
    """Return the folder with ``legacy_project`` and ``market``.

    Raises:
        UsageError: There is no such folder, as an installed package does not include the sample, or packages that the
            sample imports are not installed.
    """
    folder = given or Path(__file__).parents[2] / "fixtures"
    if not (folder / "legacy_project" / "migration.toml").is_file():
        raise UsageError(
            str(folder),
            "the sample project is not here",
            remedy="run the demo in a checkout, or give --fixtures: its folder of that name, or that of the unpacked "
            "source distribution",
        )
    absent = [name for name in SAMPLE_PACKAGES if find_spec(name) is None]
    if absent:
        what = f"the sample needs packages that are not in this environment: {', '.join(absent)}"
        raise UsageError(sys.prefix, what, remedy="install `taskqueue-migrator[sample]`")
    return folder


def create_scratch(fixtures: Path, folder: Path, environ: Mapping[str, str]) -> Scratch:
    """Copy the sample to ``folder/project``, commit it, and check out the old release next to it."""
    project = folder / "project"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".migrator", "*.sqlite3", "*.sqlite3-*", "var")
    shutil.copytree(fixtures / "legacy_project", project, ignore=ignored)
    for name in ("cases", "market"):
        shutil.copytree(fixtures / name, folder / name, ignore=ignored)
    (project / ".gitignore").write_text("__pycache__/\n*.pyc\nvar/\n*.sqlite3*\n.migrator/\n", encoding="utf-8")
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "The system before the migration")
    git(project, "worktree", "add", "--quiet", "--detach", str(folder / "old-release"))
    (folder / "audit").mkdir()
    own = {
        **{name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")},
        "AUDIT_DIR": str(folder / "audit"),
        "DATABASE_URL": f"sqlite:///{folder / 'database.sqlite3'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environ,
    }
    return Scratch(folder=folder, plan=load_plan(project / "migration.toml"), environ=own)


def git(folder: Path, *arguments: str) -> str:
    """Run git in ``folder`` and return what it printed.

    Raises:
        UsageError: git failed; its error output is in the message.
    """
    command = ["git", *IDENTITY, *arguments]
    result = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=GIT_TIMEOUT_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if result.returncode:
        raise UsageError(str(folder), f"git {arguments[0]} failed", found=result.stderr.strip()[-400:])
    return result.stdout


def commit(folder: Path, message: str) -> None:
    """Commit all changes, if there are any."""
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message", message)


def manage(scratch: Scratch, arguments: Sequence[str], *, root: Path | None = None) -> str:
    """Run the sample's ``manage.py`` and return its output.

    Args:
        scratch: The scratch system.
        arguments: Such as ``("migrate", "--verbosity", "0")``.
        root: The checkout to run it in. Default: the project itself.

    Raises:
        UnreachableError: It failed or took too long; the end of its output is in the message.
    """
    plan = load_plan(root / "migration.toml") if root else scratch.plan
    return manage_project(plan, *arguments, environ=scratch.environ)

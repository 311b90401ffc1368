"""``migrator rewrite-imports`` killed between two renames: the same command again ends with the new tree."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from killing import killed
from small_projects import SRC_ROOT, Project, make_project


def tree(project: Project) -> dict[str, str]:
    """Return every file of the project, also those that git ignores."""
    files = (file for file in project.folder.rglob("*") if file.is_file())
    inside = ((file.relative_to(project.folder), file) for file in files)
    return {str(name): file.read_text() for name, file in inside if name.parts[0] not in (".git", ".migrator")}


@pytest.fixture(scope="module")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The tree after a rewrite that nobody interrupts."""
    project = make_project(tmp_path_factory.mktemp("whole"), SRC_ROOT)
    project.migrator("rewrite-imports")
    return tree(project)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_same_command_finishes_it(tmp_path: Path, rewritten: dict[str, str], place: int) -> None:
    project = make_project(tmp_path / "shop", SRC_ROOT)
    before = tree(project)
    done = killed(project, tmp_path / "killer", place)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    again = project.migrator("rewrite-imports")
    assert again.returncode in (0, 1), again.stdout + again.stderr
    assert "completed an interrupted write" in again.stderr
    assert tree(project) == rewritten != before
    assert "would rewrite 0 places" in project.migrator("rewrite-imports", "--check").stdout
    project.migrator("rewrite-imports", "--undo")
    assert tree(project) == before

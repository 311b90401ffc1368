"""Files that are rewritten keep owner, group and mode; the state folder is its owner's alone, whatever the umask."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from small_projects import MIGRATOR, SRC_ROOT, Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, SRC_ROOT)


def under_umask(project: Project, umask: str, *words: str) -> None:
    done = project.run("sh", "-c", f"umask {umask}; exec {shlex.join([str(MIGRATOR), *words])}")
    assert done.returncode in {0, 1}, done.stdout + done.stderr


@pytest.mark.parametrize("umask", ["000", "022"])
def test_the_state_folder_is_private(project: Project, umask: str) -> None:
    under_umask(project, umask, "rewrite-imports")
    assert (project.folder / ".migrator").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("umask", ["000", "077"])
def test_a_rewritten_file_keeps_its_mode(project: Project, umask: str) -> None:
    file = project.folder / "src/orders/views.py"
    file.chmod(0o640)
    under_umask(project, umask, "rewrite-imports")
    assert "orders.tasks" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_file_that_root_rewrites_keeps_its_owner(project: Project) -> None:
    file = project.folder / "src/orders/views.py"
    os.chown(file, 12345, 23456)
    under_umask(project, "022", "rewrite-imports")
    assert "orders.tasks" in file.read_text()
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)
    under_umask(project, "022", "rewrite-imports", "--undo")
    assert "orders.tasks" not in file.read_text()
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


def test_a_state_folder_that_others_can_write_is_refused(project: Project) -> None:
    folder = project.folder / ".migrator"
    folder.mkdir()
    folder.chmod(0o777)
    done = project.migrator("rewrite-imports")
    assert done.returncode == 4 and f"chmod -R go-rwx {folder}" in done.stderr, done.stderr
    assert project.changed() == "?? .migrator/\n" or project.changed() == ""
    project.run("chmod", "-R", "go-rwx", str(folder))
    assert project.migrator("rewrite-imports").returncode in {0, 1}

"""The worktree of the commit before the rewrite: the right commit, linked files, and what an interruption leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from small_projects import IN_PLACE, IN_PLACE_PLAN, Project, make_project

from migrator.errors import RefusedError
from migrator.inventory.in_place import converted
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.project.legacy_tree import in_tree, legacy_folder, remove_legacy_trees

CONVERTED = 'from celery import shared_task\n\n\n@shared_task(name="app.tasks.ping")\ndef ping(x):\n    return x\n'
FILES = {**IN_PLACE, "migration.toml": IN_PLACE_PLAN, ".gitignore": "*.sqlite3\n.env\n__pycache__\nmedia/\n"}


def convert(project: Project) -> None:
    (project.folder / "app/tasks.py").write_text(CONVERTED)


def opened(folder: Path) -> Plan:
    return load_plan(folder / "migration.toml")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", FILES)


def test_the_project_itself_while_nothing_is_converted(project: Project) -> None:
    assert legacy_folder(opened(project.folder), environ=os.environ) == project.folder
    assert project.git("worktree", "list").count("\n") == 1


@pytest.mark.parametrize("committed", [False, True], ids=["not committed", "committed"])
def test_a_tree_of_the_commit_before_the_rewrite(project: Project, committed: bool) -> None:
    (project.folder / "app/models.py").write_text("NEW = True\n")
    project.commit()
    convert(project)
    if committed:
        project.commit()
        (project.folder / "app/later.py").write_text("")
        project.commit()
    plan = opened(project.folder)
    tree = legacy_folder(plan, environ=os.environ)
    assert tree != plan.folder
    assert not converted(plan, tree)
    assert (tree / "app/models.py").exists()
    assert not (tree / "app/later.py").exists()
    assert legacy_folder(plan, environ=os.environ) == tree
    assert project.changed().replace(" M app/tasks.py\n", "") == ""


def test_after_another_rewrite_it_is_the_newer_legacy_source(project: Project) -> None:
    convert(project)
    project.commit()
    first = legacy_folder(opened(project.folder), environ=os.environ)
    project.git("revert", "--no-edit", "HEAD")
    (project.folder / "app/views.py").write_text("FIXED = True\n")
    project.commit()
    convert(project)
    project.commit()
    second = legacy_folder(opened(project.folder), environ=os.environ)
    assert second != first
    assert (second / "app/views.py").read_text() == "FIXED = True\n"


def test_a_plan_below_the_top_of_a_cloned_repository(tmp_path: Path) -> None:
    project = make_project(tmp_path / "mono", {f"services/app/{name}": text for name, text in FILES.items()})
    (project.folder / "services/app/app/tasks.py").write_text(CONVERTED)
    project.commit()
    project.git("clone", "-q", str(project.folder), str(tmp_path / "clone"))
    plan = opened(tmp_path / "clone" / "services/app")
    tree = legacy_folder(plan, environ=os.environ)
    assert tree.parts[-2:] == ("services", "app")
    assert not converted(plan, tree)


def test_ignored_files_are_links_and_stay_when_the_tree_goes(project: Project) -> None:
    (project.folder / ".env").write_text("A=1")
    (project.folder / "app/db.sqlite3").write_text("rows")
    (project.folder / "media").mkdir()
    (project.folder / "media/photo").write_text("photo")
    (project.folder / "app/__pycache__").mkdir()
    convert(project)
    plan = opened(project.folder)
    tree = legacy_folder(plan, environ=os.environ)
    assert (tree / ".env").resolve() == project.folder / ".env"
    assert (tree / "app/db.sqlite3").resolve() == project.folder / "app/db.sqlite3"
    assert (tree / "media/photo").resolve() == project.folder / "media/photo"
    assert not (tree / "app/__pycache__").exists()
    (project.folder / "late.sqlite3").write_text("later")
    assert (legacy_folder(plan, environ=os.environ) / "late.sqlite3").resolve() == project.folder / "late.sqlite3"
    remove_legacy_trees(plan, environ=os.environ)
    assert not tree.exists()
    assert (project.folder / "app/db.sqlite3").read_text() == "rows"
    assert (project.folder / "media/photo").exists()
    assert project.git("worktree", "list").count("\n") == 1


@pytest.mark.parametrize("how", ["half made", "unknown to git", "gone"])
def test_an_interrupted_tree_is_made_again(project: Project, how: str) -> None:
    convert(project)
    plan = opened(project.folder)
    tree = legacy_folder(plan, environ=os.environ)
    if how == "half made":
        tree.with_suffix(".whole").unlink()
        (tree / "app/tasks.py").unlink()
    elif how == "unknown to git":
        tree.with_suffix(".whole").unlink()
        shutil.rmtree(project.folder / ".git/worktrees")
    else:
        shutil.rmtree(tree)
    assert legacy_folder(plan, environ=os.environ) == tree
    assert not converted(plan, tree)


def test_no_hook_of_the_project_runs(project: Project) -> None:
    hook = project.folder / ".git/hooks/post-checkout"
    hook.write_text("#!/bin/sh\ntouch hooked\nexit 1\n")
    hook.chmod(0o755)
    convert(project)
    tree = legacy_folder(opened(project.folder), environ=os.environ)
    assert not (tree / "hooked").exists()


def test_without_the_legacy_source_in_the_history_it_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", {**FILES, "app/tasks.py": CONVERTED})
    with pytest.raises(RefusedError, match=r"no commit has every actor .*app\.tasks\.ping.*unshallow"):
        legacy_folder(opened(project.folder), environ=os.environ)


def test_paths_of_the_project_are_those_of_the_tree_if_they_are_there(project: Project) -> None:
    convert(project)
    plan = opened(project.folder)
    tree = legacy_folder(plan, environ=os.environ)
    assert in_tree(plan, tree, str(plan.folder / "manage.py")) == str(tree / "manage.py")
    for text in ("manage.py", "worker", "/usr/bin/python3", str(plan.folder / "none"), str(plan.state_folder / "log")):
        assert in_tree(plan, tree, text) == text

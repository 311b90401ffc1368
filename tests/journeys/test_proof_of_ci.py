"""``cutover --proof FILE``: the proof that was made on another checkout counts if it belongs to what is here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_projects import Project, make_project
from test_life_cycle import LIFE, NOWHERE


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A checkout as CI has it, with its proof."""
    project = make_project(tmp_path_factory.mktemp("ci") / "life", LIFE, NOWHERE)
    green = project.migrator("parity-check", "--no-waiting")
    assert green.returncode == 0, green.stdout + green.stderr
    return project, project.folder / ".migrator/proof.json"


@pytest.fixture
def deployed(proved: tuple[Project, Path], tmp_path: Path) -> Project:
    """Another checkout of the same commit."""
    shutil.copytree(proved[0].folder, tmp_path / "life", ignore=shutil.ignore_patterns(".migrator"))
    return Project(folder=tmp_path / "life", environ=NOWHERE)


def test_the_proof_of_another_checkout_of_the_same_commit_is_taken(
    proved: tuple[Project, Path], deployed: Project
) -> None:
    assert "PROOF-MISSING" in deployed.migrator("cutover", "--dry-run").stdout
    looked = deployed.migrator("cutover", "--dry-run", "--proof", str(proved[1]))
    assert "PROOF-" not in looked.stdout, looked.stdout
    assert (deployed.folder / ".migrator/proof.json").read_bytes() == proved[1].read_bytes()


@pytest.mark.parametrize(
    ("path", "edit", "why"),
    [
        ("app/new.py", ("return a + b", "return a - b"), "the project's source was changed since the proof"),
        ("migration.toml", ('name = "life"', 'name = "other"'), "the proof belongs to another plan"),
        ("cases/add/case.toml", ("args = [1]", "args = [2]"), "cases, waivers or their settings were changed"),
    ],
)
def test_a_proof_of_something_else_is_refused(
    proved: tuple[Project, Path], deployed: Project, path: str, edit: tuple[str, str], why: str
) -> None:
    file = deployed.folder / path
    assert edit[0] in file.read_text()
    file.write_text(file.read_text().replace(*edit))
    refused = deployed.migrator("cutover", "--yes", "--proof", str(proved[1]))
    assert refused.returncode == 4, refused.stdout + refused.stderr
    assert why in refused.stderr and str(proved[1]) in refused.stderr
    assert not (deployed.folder / ".migrator/proof.json").exists()


def test_a_proof_that_was_changed_or_is_none_is_refused(
    proved: tuple[Project, Path], deployed: Project, tmp_path: Path
) -> None:
    forged = tmp_path / "proof.json"
    forged.write_text(json.dumps({**json.loads(proved[1].read_text()), "counts": {"compared": 99}}))
    for file, why in ((forged, "is not what was written"), (tmp_path / "none.json", "there is no parity proof")):
        refused = deployed.migrator("cutover", "--yes", "--proof", str(file))
        assert refused.returncode == 4
        assert why in refused.stderr

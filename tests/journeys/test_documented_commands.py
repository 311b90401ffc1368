"""The documented commands, by the installed console script, on small projects that are not the sample."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from own_environment import project_python
from small_projects import IN_PLACE, NAMESAKES, NAMESAKES_WORKERS, SAME_KEY, SRC_ROOT, Project, make_project

SAMPLE = Path(__file__).parents[2] / "fixtures" / "legacy_project"


@pytest.fixture(params=["sample", "src root"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    """A project whose import root is not the folder of the plan."""
    if request.param == "src root":
        return make_project(tmp_path / "shop", SRC_ROOT)
    shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("__pycache__", ".migrator"))
    return make_project(tmp_path / "sample", {})


def documents(project: Project) -> dict[str, str]:
    """Return what each way of looking prints; none of them may change anything or end in an error."""
    printed = {}
    for words in ("--check", "--diff", *(f"--check --format {name}" for name in ("json", "sarif", "github"))):
        done = project.migrator("rewrite-imports", *words.split())
        assert done.returncode in (0, 1), f"{words}: {done.returncode} {done.stdout[-500:]} {done.stderr[-500:]}"
        assert "Traceback" not in done.stderr
        printed[words] = done.stdout
    assert project.changed() == ""
    return printed


def write(project: Project) -> subprocess.CompletedProcess[str]:
    done = project.migrator("rewrite-imports")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done


def convert(project: Project) -> None:
    """Write and commit, as a person would."""
    write(project)
    project.commit()


def test_every_format_says_the_same_before_and_nothing_to_do_after(project: Project) -> None:
    before = documents(project)
    report = json.loads(before["--check --format json"])
    assert report["exit_code"] == 1
    changed = {file["path"] for file in report["changed"]}
    assert changed
    (run,) = json.loads(before["--check --format sarif"])["runs"]
    results = [result for result in run["results"] if result["ruleId"] == "WOULD-CHANGE"]
    places = {result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results}
    assert places == changed | set(report["created"])
    for path in changed:
        assert f"would rewrite {path} (" in before["--check"]
        assert f"+++ b/{path}" in before["--diff"]

    # GitHub shows a few of a run only, errors first.
    assert before["--check --format github"].startswith(("::error file=", "::warning file="))

    convert(project)
    after = documents(project)
    assert json.loads(after["--check --format json"])["changed"] == []
    assert "WOULD-CHANGE" not in after["--check --format sarif"] + after["--check --format github"]
    assert after["--diff"].count("+++ ") == 0
    write(project)
    assert project.changed() == "", "the second run changes something"


def test_a_clone_without_the_record_of_the_rewrite_is_judged_alike(project: Project, tmp_path: Path) -> None:
    convert(project)
    here = project.migrator("rewrite-imports", "--check", "--format", "json")
    project.git("clone", "-q", str(project.folder), str(tmp_path / "clone"))
    clone = Project(folder=tmp_path / "clone")
    there = clone.migrator("rewrite-imports", "--check", "--format", "json")
    assert there.returncode == here.returncode, there.stdout
    mine, theirs = json.loads(here.stdout), json.loads(there.stdout)
    assert (theirs["changed"], theirs["created"], theirs["findings"]) == ([], [], mine["findings"])


def test_taken_back_in_git_and_brought_again_the_plan_still_holds(project: Project) -> None:
    convert(project)
    for _ in range(2):  # the source before the rewrite, and after it once more
        project.git("revert", "--no-edit", "HEAD")
        done = project.migrator("rewrite-imports", "--check")
        assert done.returncode in (0, 1), done.stdout + done.stderr


def test_a_schedule_entry_that_keeps_its_key_survives_every_run(tmp_path: Path) -> None:
    project = make_project(tmp_path, SAME_KEY)
    settings = project.folder / "app" / "settings.py"
    convert(project)
    first = settings.read_text()
    assert '"task": "new.nightly"' in first
    assert "old_nightly" not in first
    for _ in range(3):
        write(project)
        assert settings.read_text() == first


def test_a_schedule_entry_that_keeps_key_and_task_is_in_the_source(tmp_path: Path) -> None:
    plan = (
        SAME_KEY["migration.toml"].replace("new.nightly", "old_nightly").replace("app.old_nightly", "app.new.nightly")
    )
    files = {**SAME_KEY, "migration.toml": plan}
    files["app/new.py"] = files["app/new.py"].replace("new.nightly", "old_nightly")
    project = make_project(tmp_path, files)
    settings = project.folder / "app" / "settings.py"
    for _ in range(3):
        convert(project)
        assert settings.read_text().count('"task": "old_nightly"') == 1


def test_in_place_the_rewritten_source_is_what_the_plan_says(tmp_path: Path) -> None:
    project = make_project(tmp_path, IN_PLACE)
    done = project.migrator("init", "--in-place")
    assert done.returncode == 0, done.stdout + done.stderr
    project.commit()
    convert(project)
    documents(project)
    write(project)
    assert project.changed() == ""


def test_a_dry_run_without_a_unified_worker_ends_in_findings(tmp_path: Path) -> None:
    project = make_project(tmp_path, SRC_ROOT)
    convert(project)
    done = project.migrator("cutover", "--dry-run")
    assert "Traceback" not in done.stderr
    assert done.returncode in (3, 4), done.stdout + done.stderr
    assert "PROOF-MISSING" in done.stdout


@pytest.mark.parametrize(
    ("old", "new"),
    [("transfer --retry-kept", "--retry-quarantined"), ("complete --discard-kept", "--discard-quarantined")],
)
def test_a_flag_of_an_earlier_version_is_refused_with_its_new_name(tmp_path: Path, old: str, new: str) -> None:
    done = make_project(tmp_path, SAME_KEY).migrator(*old.split())
    assert done.returncode == 2
    assert new in done.stderr


def test_a_plan_key_of_an_earlier_version_is_refused_with_its_new_name(tmp_path: Path) -> None:
    plan = SAME_KEY["migration.toml"] + "\n[cutover]\nalias_net = true\nalias_quiet_s = 60\n"
    done = make_project(tmp_path, {**SAME_KEY, "migration.toml": plan}).migrator("status")
    assert done.returncode == 2
    assert "legacy_aliases" in done.stderr
    assert "legacy_aliases_quiet_s" in done.stderr


@pytest.mark.parametrize("through_broker", [False, True], ids=["alone", "through workers"])
def test_packages_called_as_the_tools_own_are_the_projects(tmp_path: Path, through_broker: bool) -> None:
    environ = {"MIGRATOR_PYTHON": str(project_python(tmp_path / "venv"))}
    project = make_project(tmp_path / "project", NAMESAKES, environ)
    options = ["--through-broker"] if through_broker else []
    if through_broker:
        plan = project.folder / "migration.toml"
        plan.write_text(plan.read_text() + NAMESAKES_WORKERS)
    done = project.migrator("parity-check", "--format", "json", *options, timeout_s=170)
    assert done.returncode == 1, done.stdout[-500:] + done.stderr[-500:]
    report = json.loads(done.stdout)["parity"]
    assert report["counts"]["could-not-compare"] == 0, report
    outcomes = {comparison["case"]: comparison["outcome"] for comparison in report["comparisons"]}
    assert (outcomes["quote"], outcomes["discount"]) == ("matched", "matched")

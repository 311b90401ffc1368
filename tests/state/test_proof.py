"""The proof belongs to one plan, source and set of cases, is fresh for a day and only worth something unchanged."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.state.proof import (
    TOOL,
    Proof,
    discard_proof,
    other_versions,
    proof_file,
    read_proof,
    source_digest,
    verify_proof,
    write_proof,
)

PLAN = """
[migration]
name = "small"
[project]
root = "src"
settings = "settings"
[legacy.celery]
broker = "redis://localhost:6379/0"
queues = ["celery"]
[unified]
broker = "redis://localhost:6379/0"
queues = ["unified"]
[[task]]
name = "tasks.one"
path = "tasks.one"
"""
LEFT_BEHIND = (
    "src/var/db.sqlite3",
    "src/var/note.py",
    "src/db.sqlite3",
    "src/x.pyc",
    "src/__pycache__/one.py",
    "src/.pytest_cache/x.json",
    "src/celerybeat-schedule.db",
    "src/logs/a.txt",
    ".migrator/journal.jsonl",
    "README.md",
)
GREEN = {"compared": 3, "matched": 2, "waived": 1, "mismatched": 0, "could-not-compare": 0, "findings": 0}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    (tmp_path / "src" / "tasks").mkdir(parents=True)
    (tmp_path / "src" / "tasks" / "one.py").write_text("one = 1\n")
    (tmp_path / "cases" / "first").mkdir(parents=True)
    (tmp_path / "cases" / "first" / "case.toml").write_text("title = 'x'\n")
    (tmp_path / "migration.toml").write_text(PLAN)
    return load_plan(tmp_path / "migration.toml")


def prove(plan: Plan, **counts: int) -> Proof:
    return write_proof(
        plan,
        case_paths=(plan.folder / "cases", plan.folder / "waivers.toml"),
        counts={**GREEN, **counts},
        versions={"celery": "5.3.6"},
    )


def codes(plan: Plan, **options: datetime) -> list[str]:
    return [finding.code for finding in verify_proof(plan, read_proof(plan), **options).findings]


def test_a_fresh_proof_holds(plan: Plan) -> None:
    written = prove(plan)
    assert read_proof(plan) == written
    report = verify_proof(plan, written)
    assert report.ok and report.checked == 1
    assert report.facts["proof"]["counts"] == GREEN
    assert (plan.state_folder / ".gitignore").read_text() == "*\n"


def test_none_is_missing(plan: Plan) -> None:
    assert read_proof(plan) is None
    assert codes(plan) == ["PROOF-MISSING"]
    prove(plan)
    discard_proof(plan)
    assert codes(plan) == ["PROOF-MISSING"]


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_running_leaves_behind_does_not_matter(plan: Plan, name: str) -> None:
    prove(plan)
    file = plan.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("changed")
    assert codes(plan) == []


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename", "move a byte between files"])
def test_a_changed_source_is_told(plan: Plan, change: str) -> None:
    folder = plan.source_root / "tasks"
    (folder / "two.py").write_text("two = 2\n")
    prove(plan)
    if change == "edit":
        (folder / "one.py").write_text("one = 2\n")
    elif change == "add":
        (folder / "three.py").write_text("")
    elif change == "remove":
        (folder / "two.py").unlink()
    elif change == "rename":
        (folder / "two.py").rename(folder / "deux.py")
    else:
        (folder / "one.py").write_text("one = 1")
        (folder / "two.py").write_text("\ntwo = 2\n")
    assert codes(plan) == ["PROOF-SOURCE"]


def test_touching_a_file_changes_nothing(plan: Plan) -> None:
    before = source_digest(plan)
    (plan.source_root / "tasks" / "one.py").touch()
    assert source_digest(plan) == before


@pytest.mark.parametrize("name", ["cases/first/case.toml", "cases/second/case.toml", "waivers.toml"])
def test_changed_cases_and_waivers_are_told(plan: Plan, name: str) -> None:
    prove(plan)
    (plan.folder / name).parent.mkdir(exist_ok=True)
    (plan.folder / name).write_text("title = 'y'\n")
    assert codes(plan) == ["PROOF-CASES"]


def test_another_plan_is_told(plan: Plan) -> None:
    prove(plan)
    plan.file.write_text(PLAN.replace("small", "other"))
    assert codes(load_plan(plan.file)) == ["PROOF-PLAN"]


def test_a_moved_project_keeps_its_proof(plan: Plan, tmp_path: Path) -> None:
    prove(plan)
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    tmp_path.rename(moved)
    assert codes(load_plan(moved / "migration.toml")) == []


def test_cases_beside_the_project_move_with_it(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    for name in ("src", "migration.toml"):
        (tmp_path / name).rename(tmp_path / "project" / name)
    moved = load_plan(tmp_path / "project" / "migration.toml")
    proof = write_proof(moved, case_paths=(tmp_path / "cases",), counts=GREEN, versions={})
    assert proof.case_paths == ("../cases",)
    assert codes(moved) == []
    (tmp_path / "cases" / "first" / "case.toml").write_text("title = 'z'\n")
    assert codes(moved) == ["PROOF-CASES"]


@pytest.mark.parametrize(("hours", "expected"), [(23.9, []), (24.1, ["PROOF-STALE"]), (-1, ["PROOF-STALE"])])
def test_it_is_worth_something_for_a_day(plan: Plan, hours: float, expected: list[str]) -> None:
    prove(plan)
    assert codes(plan, now=datetime.now(UTC) + timedelta(hours=hours)) == expected


@pytest.mark.parametrize("counts", [{"mismatched": 1}, {"could-not-compare": 1}, {"findings": 1}, {"compared": 0}])
def test_a_red_run_is_no_proof(plan: Plan, counts: dict[str, int]) -> None:
    prove(plan, **counts)
    assert codes(plan) == ["PROOF-RED"]


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"digest": "x"}', "null"])
def test_what_cannot_be_read_was_tampered_with(plan: Plan, text: str) -> None:
    prove(plan)
    proof_file(plan).write_text(text)
    assert codes(plan) == ["PROOF-TAMPERED"]


@pytest.mark.parametrize("key", ["plan", "source", "cases", "created_at", "case_paths", "counts", "versions", "schema"])
def test_any_changed_word_is_told(plan: Plan, key: str) -> None:
    prove(plan, mismatched=1)
    document = json.loads(proof_file(plan).read_text())
    document[key] = {**GREEN} if key == "counts" else ["x"] if key == "case_paths" else {} if key == "versions" else "2"
    proof_file(plan).write_text(json.dumps(document))
    assert codes(plan) == ["PROOF-TAMPERED"]


def test_other_versions_are_told(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    prove(plan)
    monkeypatch.setattr("migrator.state.proof.tool_versions", lambda: {TOOL: "0.0.1"})
    (finding,) = verify_proof(plan, read_proof(plan)).findings
    assert finding.code == "PROOF-STALE"
    assert "→ 0.0.1" in finding.found


def test_other_versions_of_the_project_are_told(plan: Plan) -> None:
    proof = prove(plan)
    assert not list(other_versions(proof, {"celery": "5.3.6", "redis": "5.0"}, "proof"))
    (finding,) = other_versions(proof, {"celery": "5.4.0"}, "proof")
    assert (finding.code, finding.found) == ("PROOF-STALE", "celery 5.3.6 → 5.4.0")

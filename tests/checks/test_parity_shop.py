"""Whole runs over a small project: every effect is observed, and no case can end the run."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from shop_project import RESTOCK, RESTOCK_ACTOR, ROWS, STOCK, add_case, check, complete, copy_shop, restock_case

from checks.compare.report import SCHEMA, ParityReport, explain, summary_lines
from checks.runner import ParityOptions, parity_check
from migrator.errors import ExitCode, UsageError
from migrator.plan.loader import load_plan
from migrator.report import Outcome
from migrator.state.proof import read_proof, verify_proof

WAIVER = """
[[waiver]]
id = "all"
paths = ["policy.*", "wire.*", "retry.delay_s", "value", "effects.messages.*"]
reason = "wanted"
owner = "shop"
expires = 2099-01-01
"""
#: What the unified task does differently in each case, and the only paths at which that may show.
TWISTS = {
    "http": {"effects.http.GET /stock/twist-http", "effects.http.GET /stock/other"},
    "row": {"effects.rows.shop_delivery"},
    "update": {"effects.rows.shop_item.updated"},
    "deleted": {"effects.rows.shop_item.deleted"},
    "ttl": {"effects.cache.stock:twist-ttl"},
    "mail": {"effects.mail"},
    "log": {"effects.logs"},
    "value": {"value.amount"},
    "message": {"effects.messages.jobs.follow_up"},
    "delay": {"effects.messages.jobs.follow_up"},
    "queue": {"effects.messages.jobs.follow_up"},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    """One run over everything."""
    plan = copy_shop(tmp_path_factory.mktemp("parity"))
    restock_case(plan, "same", "same")
    for twist in (*TWISTS, "exception"):
        restock_case(plan, f"twist-{twist}", f"twist-{twist}")
    restock_case(plan, "retry", "failing")
    restock_case(plan, "last", "failing", attempts=2, unified_ends="dead-letter", legacy_ends="exception")
    restock_case(plan, "wrong-expectation", "same", unified_ends="retry")
    both = [
        {"system": "celery", "task": RESTOCK, "args": ["disagree"]},
        {"system": "dramatiq", "task": RESTOCK_ACTOR, "args": ["disagree"]},
    ]
    add_case(plan, "disagree", *both, http=[STOCK], rows=ROWS)
    return check(plan)


def paths(report: ParityReport, case: str, system: str = "celery") -> set[str]:
    return {m.path for m in report.mismatches if m.case == case and m.system == system}


def outcome(report: ParityReport, case: str, system: str = "celery") -> Outcome:
    return next(c.outcome for c in report.comparisons if c.case == case and c.system == system)


def test_equal_tasks_match(report: ParityReport) -> None:
    assert outcome(report, "same") is Outcome.MATCHED


@pytest.mark.parametrize("twist", TWISTS)
def test_each_effect_is_compared(report: ParityReport, twist: str) -> None:
    assert paths(report, f"twist-{twist}") == TWISTS[twist]


def test_an_exception_on_one_side_is_a_difference(report: ParityReport) -> None:
    assert {"outcome", "value", "exception"} <= paths(report, "twist-exception")


def test_a_retry_is_compared_by_its_delay(report: ParityReport) -> None:
    found = [m for m in report.mismatches if m.case == "retry"]
    assert [(m.path, m.legacy, m.unified) for m in found] == [("retry.delay_s", 30.0, 60.0)]


def test_a_dead_letter_is_an_effect(report: ParityReport) -> None:
    assert paths(report, "last") == {"effects.dead_letters"}


def test_a_case_can_say_how_the_unified_side_ends(report: ParityReport) -> None:
    assert paths(report, "wrong-expectation") == {"ends"}


def test_random_values_of_the_legacy_side_are_noise(report: ParityReport) -> None:
    noisy = {(item.path, item.why) for item in report.noise if item.task == "jobs.restock"}
    assert noisy == {("effects.rows.shop_delivery.inserted.*.token", "a random id")}
    assert "a random id" in explain(report, "*.token")[0]
    assert explain(report, "value") == ["no noise at value"]


def test_disagreements_of_the_legacy_systems_are_reported(report: ParityReport) -> None:
    (found,) = report.disagreements
    assert found.case == "disagree"
    assert "value.amount" in found.paths


def test_a_red_run_leaves_no_proof(report: ParityReport) -> None:
    assert report.exit_code is ExitCode.DIFFERENCES
    plan = load_plan(Path(report.facts["files"]["json"]).parents[2] / "migration.toml")
    assert read_proof(plan) is None


def test_all_documents_agree(report: ParityReport) -> None:
    document = json.loads(Path(report.facts["files"]["json"]).read_text())
    assert document["counts"] == report.counts
    schema = json.loads(files("checks").joinpath("reports/parity.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(document)
    assert schema["properties"]["schema"]["const"] == SCHEMA
    suites = ElementTree.parse(report.facts["files"]["junit"]).getroot()
    cases = [case for suite in suites for case in suite if suite.get("name") != "run"]
    assert len(cases) == report.cases
    assert sum(case.find("failure") is not None for case in cases) == report.mismatched
    assert sum(case.find("error") is not None for case in cases) == report.could_not_compare


def test_the_summary_has_five_lines_at_most(report: ParityReport) -> None:
    lines = summary_lines(report)
    assert 1 <= len(lines) <= 5
    assert str(report.mismatched) in lines[0]


def test_a_green_run_writes_a_proof_and_a_waiver_makes_it_green(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    restock_case(plan, "retry", "failing")
    complete(plan)
    waivers = plan.folder / "waivers.toml"
    waivers.write_text(WAIVER, encoding="utf-8")
    first = check(plan)
    assert not first.ok
    assert "covers it; run with --accept all" in next(m.reason for m in first.mismatches if m.path == "retry.delay_s")
    accepted = check(plan, accept=("all",))
    assert accepted.ok, accepted.mismatches
    again = check(plan)
    assert again.ok and again.waived
    assert verify_proof(plan, read_proof(plan)).ok
    # The same kind of difference with other content is not accepted.
    source = plan.source_root / "jobs" / "unified.py"
    source.write_text(source.read_text().replace("countdown=60", "countdown=61"))
    assert [f.code for f in verify_proof(plan, read_proof(plan)).findings] == ["PROOF-SOURCE"]
    changed = check(plan)
    assert not changed.ok
    assert [(m.path, m.unified) for m in changed.mismatches if m.outcome is Outcome.MISMATCHED] == [
        ("retry.delay_s", 61.0)
    ]


def test_a_mapped_task_without_a_case_is_reported(report: ParityReport) -> None:
    found = [finding.where for finding in report.findings if finding.code == "PARITY-NO-CASE"]
    assert found == ["celery:jobs.old_celery.misbehave", "celery:jobs.old_celery.follow_up", "dramatiq:follow_up"]


def test_nothing_compared_is_never_green(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    report = check(plan)
    assert report.cases == 0 and not report.ok
    assert "never green" in summary_lines(report)[0]
    assert read_proof(plan) is None


def test_a_source_that_changes_during_the_run_gives_no_proof(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    restock_case(plan, "same", "same")
    note = plan.source_root / "note.py"
    report = parity_check(
        plan, environ=os.environ, options=ParityOptions(noise=False), listener=lambda event: note.touch()
    )
    assert report.findings[0].code == "PARITY-SOURCE-CHANGED"
    assert read_proof(plan) is None


def test_part_of_the_cases_gives_no_proof(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    restock_case(plan, "same", "same")
    restock_case(plan, "other", "other")
    report = check(plan, names=("same",))
    assert report.ok and not report.whole
    assert read_proof(plan) is None


def test_a_recorded_exchange_is_played_once(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    uri = "https://supplier.example/stock/same"
    exchange = {
        "request": {"method": "GET", "uri": uri, "headers": {}, "body": None},
        "response": {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "{}"}},
    }
    call = {"system": "celery", "task": RESTOCK, "args": ["same"]}
    file = add_case(plan, "once", call, cassettes=["tape.json"], rows=ROWS)
    file.with_name("tape.json").write_text(json.dumps({"version": 1, "interactions": [exchange]}))
    call = {"system": "celery", "task": RESTOCK, "args": ["other"]}
    other = add_case(plan, "other", call, cassettes=["tape.json"], rows=ROWS)
    other.with_name("tape.json").write_text(json.dumps({"version": 1, "interactions": [exchange]}))
    report = check(plan, noise=False, tasks=("jobs.restock",))
    assert "effects.rows.shop_delivery.inserted" in paths(report, "once")
    (mismatch,) = [item for item in report.mismatches if item.case == "other"]
    assert "GET /stock/other: the case has no answer to this request" in mismatch.reason


def test_an_isolated_run_observes_the_same(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    restock_case(plan, "same", "same")
    restock_case(plan, "ttl", "twist-ttl")
    report = check(plan, names=("*",), tasks=("jobs.restock",), isolate=True, noise=False)
    assert paths(report, "ttl") >= {"effects.cache.stock:twist-ttl"}


def test_a_project_without_the_unified_tasks_is_refused(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    (plan.source_root / "jobs" / "unified.py").unlink()
    with pytest.raises(UsageError, match="rewrite-imports"):
        check(plan)

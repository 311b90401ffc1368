"""The formats that other tools read: valid, complete, and within their limits."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from corpus_project import make_project

from codemods.formats import as_github, as_json, as_sarif
from codemods.formats.github import LIMIT
from codemods.plan.reason_codes import REASONS
from codemods.report import Mode, RewriteReport
from codemods.runner import rewrite
from migrator.report import Finding, Severity

SCHEMA = Path(__file__).parent / "data" / "sarif-schema-2.1.0.json"


@pytest.fixture
def report(tmp_path: Path) -> RewriteReport:
    calls = "".join(f"old_actor.send()  # {number}\n" for number in range(LIMIT + 3))
    files = {
        "src/app.py": "from legacy.actors import add_actor\nadd_actor.send(1, 2)\n",
        "src/a, b:c.py": f"from legacy.actors import old_actor\n{calls}",
        "src/bad.py": "from legacy.actors import (\n",
    }
    return rewrite(make_project(tmp_path, files), mode=Mode.CHECK)


def test_json_holds_everything(report: RewriteReport) -> None:
    document = json.loads(as_json(report, next_steps=["migrator rewrite-imports"]))
    assert document["schema_version"] == 1
    assert document["exit_code"] == 1
    assert document["counts"]["leftovers"] == LIMIT + 4 == len(document["findings"])
    assert document["changed"][0]["path"] == "src/app.py"
    assert document["changed"][0]["rewrites"] == {"imports": 3, "sends": 1}
    assert document["unparsable"][0]["path"] == "src/bad.py"
    assert document["findings"][0] == {
        "code": "RETIRED-TASK",
        "severity": "error",
        "path": "src/a, b:c.py",
        "line": 2,
        "what": "the task has no successor: old_actor: nobody reads it",
        "found": "old_actor.send()  # 0",
        "remedy": "remove the call, or map the task in the plan",
    }
    assert document["next_steps"] == ["migrator rewrite-imports"]


def test_sarif_is_valid(report: RewriteReport) -> None:
    document = json.loads(as_sarif(report))
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    run = document["runs"][0]
    assert len(run["results"]) == LIMIT + 5
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {"RETIRED-TASK", "UNPARSABLE", "WOULD-CHANGE"}
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "src/a%2C%20b%3Ac.py"
    assert place["region"] == {"startLine": 2}


def test_the_schema_refuses_what_is_no_sarif(report: RewriteReport) -> None:
    document = json.loads(as_sarif(report))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json.loads(SCHEMA.read_text()))


def test_github_stays_within_its_limits_and_says_what_it_cut(report: RewriteReport) -> None:
    lines = as_github(report).splitlines()
    errors = [line for line in lines if line.startswith("::error ")]
    assert len(errors) == LIMIT
    assert errors[0].startswith("::error file=src/a%2C b%3Ac.py,line=2,title=RETIRED-TASK::")
    assert sum(line.startswith("::notice") for line in lines) == 1
    assert "4 more errors are not shown" in lines[-1]


@pytest.mark.parametrize(("errors", "notices"), [(LIMIT, LIMIT), (LIMIT + 1, LIMIT), (0, LIMIT + 5), (3 * LIMIT, 2)])
def test_github_never_says_more_than_a_step_may_show(errors: int, notices: int) -> None:
    made = [(Severity.ERROR, number) for number in range(errors)] + [(Severity.INFO, n) for n in range(notices)]
    findings = tuple(Finding(code="X", severity=severity, where=f"a.py:{n + 1}", what="w") for severity, n in made)
    lines = as_github(RewriteReport(mode=Mode.WRITE, findings=findings)).splitlines()
    shown = {kind: [line for line in lines if line.startswith(f"::{kind} ")] for kind in ("error", "notice")}
    assert all(len(found) <= LIMIT for found in shown.values())
    told = [int(count) for count in re.findall(r"(\d+) more", lines[-1])]
    assert sum(told) == errors + notices - sum(len(found) for found in shown.values()) + (1 if told else 0)


def test_a_clean_report_says_nothing(tmp_path: Path) -> None:
    report = rewrite(make_project(tmp_path, {}), mode=Mode.CHECK)
    assert as_github(report) == ""
    assert json.loads(as_sarif(report))["runs"][0]["results"] == []


def test_every_reason_code_is_written_as_one() -> None:
    for code, reason in REASONS.items():
        assert code == code.upper() and " " not in code
        assert reason.what and reason.remedy

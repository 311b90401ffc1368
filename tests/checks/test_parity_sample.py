"""The sample's cases and waivers: complete as data, and green on a rewritten copy for a part of the cases."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from checks.cases.load import CaseKind, CaseSet, load_cases
from checks.compare.report import ParityReport
from checks.compare.waivers import Waivers, load_waivers
from checks.configuration import load_configuration
from checks.runner import ParityOptions, parity_check
from codemods.report import Mode
from codemods.runner import rewrite
from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.report import Outcome

FIXTURES = Path(__file__).parents[2] / "fixtures"
# The module's fixtures are slow: one worker runs all these tests.
pytestmark = pytest.mark.xdist_group("parity-sample")
#: Kinds that every fetching task has; tasks that fetch nothing have the kinds that apply to them.
FETCHING = {CaseKind.USUAL, CaseKind.EMPTY, CaseKind.PARTIAL, CaseKind.TOTAL, CaseKind.MALFORMED, CaseKind.BOUNDARY}
NOT_FETCHING = {
    "tasks.celery_tasks.calculate_indicators_task": {CaseKind.USUAL, CaseKind.EMPTY, CaseKind.BOUNDARY},
    "tasks.celery_tasks.cleanup_old_data_task": {CaseKind.USUAL, CaseKind.EMPTY, CaseKind.BOUNDARY, CaseKind.MALFORMED},
    "tasks.celery_tasks.fetch_all_markets_task": {CaseKind.USUAL, CaseKind.EMPTY, CaseKind.BOUNDARY},
    "tasks.celery_tasks.health_check_task": {CaseKind.USUAL, CaseKind.EMPTY},
    "health_check_task": {CaseKind.USUAL, CaseKind.EMPTY},
    "batch_update_popular_assets": {CaseKind.USUAL, CaseKind.EMPTY, CaseKind.BOUNDARY},
}
IMPROVEMENTS = ("A. Lazy", "B. Exponential", "C. Fixed Hardcoded", "D. Dead Letter")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(FIXTURES / "legacy_project" / "migration.toml")


@pytest.fixture(scope="module")
def cases(plan: Plan) -> CaseSet:
    return load_cases(load_configuration(plan).cases, plan)


@pytest.fixture(scope="module")
def waivers(plan: Plan) -> Waivers:
    return load_waivers(load_configuration(plan).waivers)


def test_every_mapped_task_has_its_kinds_of_cases(plan: Plan, cases: CaseSet) -> None:
    found = defaultdict(set)
    for case in cases.cases:
        for call in case.calls:
            found[call.mapping.name].add(case.kind)
    missing = {
        mapping.name: sorted(NOT_FETCHING.get(mapping.name, FETCHING) - found[mapping.name])
        for mapping in plan.mappings()
        if not NOT_FETCHING.get(mapping.name, FETCHING) <= found[mapping.name]
    }
    assert missing == {}
    assert cases.comparisons >= 140


def test_each_improvement_of_the_guide_is_a_waiver_in_use(waivers: Waivers) -> None:
    used = {pin.waiver for pin in waivers.pins}
    for improvement in IMPROVEMENTS:
        ids = {waiver.id for waiver in waivers.waivers if waiver.improvement.startswith(improvement)}
        assert ids and ids <= used, improvement


def test_every_accepted_difference_has_a_reason_and_a_case(plan: Plan, cases: CaseSet, waivers: Waivers) -> None:
    names = {case.name for case in cases.cases}
    ids = {waiver.id for waiver in waivers.waivers}
    assert {pin.waiver for pin in waivers.pins} == ids
    assert [pin.case for pin in waivers.pins if ":" not in pin.case and pin.case not in names] == []


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ParityReport:
    folder = tmp_path_factory.mktemp("sample")
    left_out = shutil.ignore_patterns("__pycache__", ".migrator", "var")
    for name in ("legacy_project", "cases", "market"):
        shutil.copytree(FIXTURES / name, folder / name, ignore=left_out)
    plan = load_plan(folder / "legacy_project" / "migration.toml")
    rewrite(plan, mode=Mode.WRITE)
    chosen = (
        "alpha-usual",
        "batch-usual",
        "news-usual",
        "warming-usual",
        "yahoo-*attempt",
        "binance-partial",
        "binance-dead-letter",
        "binance-usual",
        "stock-prices-*",
        "indicators-as-scheduled",
        "indicators-usual",
        "cleanup-*",
    )
    return parity_check(plan, environ=os.environ, options=ParityOptions(names=chosen))


@pytest.mark.acceptance
def test_every_difference_on_the_rewritten_sample_is_waived(report: ParityReport) -> None:
    bad = [item for item in report.mismatches if item.outcome is not Outcome.WAIVED]
    assert bad == []
    assert report.ok and report.cases >= 30
    assert not report.whole


@pytest.mark.acceptance
def test_the_legacy_systems_disagree(report: ParityReport) -> None:
    assert {"tasks.fetch_binance_cryptos", "tasks.calculate_indicators"} <= {item.task for item in report.disagreements}


@pytest.mark.acceptance
def test_the_improvements_show(report: ParityReport) -> None:
    used = {item.reason.partition(":")[0] for item in report.mismatches}
    assert {"B-exponential-backoff", "B-more-attempts", "C-hardcoded-symbol", "D-dead-letters"} <= used


@pytest.mark.acceptance
def test_the_project_is_not_changed(report: ParityReport) -> None:
    root = Path(report.facts["files"]["json"]).parents[2]
    assert not (root / "apps/backend/src/var").exists()
    assert not list(root.rglob("__pycache__"))
    assert not list(root.rglob("*.sqlite3"))

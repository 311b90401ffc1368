"""Cases are validated as a whole: every problem at once, key path first, with the nearest known name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from shop_project import RESTOCK, RESTOCK_ACTOR, add_case, copy_shop

from checks.cases.load import CaseError, CaseSet, load_cases
from checks.configuration import RuleKind, broker_environment, load_configuration
from migrator.errors import ExitCode, PlanError, UsageError
from migrator.plan.model import Plan

CALL = {"system": "celery", "task": RESTOCK, "args": ["apple"]}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return copy_shop(tmp_path)


def load(plan: Plan) -> CaseSet:
    return load_cases(plan.folder / "cases", plan)


def problems(plan: Plan) -> str:
    with pytest.raises(CaseError) as error:
        load(plan)
    assert error.value.exit_code is ExitCode.USAGE
    return str(error.value)


def test_a_case_defines_the_call_and_the_plan_its_unified_arguments(plan: Plan) -> None:
    both = [CALL, {"system": "dramatiq", "task": RESTOCK_ACTOR, "kwargs": {"name": "apple", "amount": 2}}]
    add_case(plan, "one", *both, clock=datetime(2026, 1, 1, tzinfo=UTC), attempts=2)
    (case,) = load(plan).cases
    assert case.task == "jobs.restock" and case.attempts == 2
    first, second = case.calls
    assert (first.unified_args, dict(first.unified_kwargs)) == ((), {"names": ["apple"]})
    assert dict(second.unified_kwargs) == {"names": ["apple"], "amount": 2}
    assert load(plan).comparisons == 2


def test_a_call_may_define_the_unified_arguments_itself(plan: Plan) -> None:
    own = {"kwargs": {"amount": 2}, "reason": "the schedule calls it so"}
    add_case(plan, "one", {**CALL, "unified": own})
    assert dict(load(plan).cases[0].calls[0].unified_kwargs) == {"amount": 2}


def test_arguments_that_toml_cannot_write_come_from_a_file(plan: Plan) -> None:
    file = add_case(plan, "one", {"system": "celery", "task": RESTOCK, "arguments": "call.json"})
    file.with_name("call.json").write_text(json.dumps({"args": [None], "kwargs": {}}))
    assert load(plan).cases[0].calls[0].args == (None,)
    file.with_name("call.json").write_text("[]")
    assert "needs a JSON object with args and kwargs" in problems(plan)


def test_every_problem_is_listed_at_once(plan: Plan) -> None:
    add_case(plan, "a", CALL, knid="usual", attempts=-1)
    add_case(plan, "b", {**CALL, "task": "jobs.old_celery.restok"}, kind="usaul")
    add_case(plan, "c", {**CALL, "kwargs": {"colour": "red"}})
    add_case(plan, "d", {"system": "celery", "task": "jobs.old_celery.forget"})
    add_case(plan, "e")
    add_case(plan, "f", CALL, http=[{"contains": "x", "json": {}, "text": ""}], worlds=["nowhere"])
    add_case(plan, "g", CALL, {"system": "celery", "task": "jobs.old_celery.misbehave", "args": ["x"]})
    (plan.folder / "cases" / "h").mkdir()
    (plan.folder / "cases" / "i").mkdir()
    (plan.folder / "cases" / "i" / "case.toml").write_text("title = ")
    found = problems(plan)
    for text in (
        "a/case.toml.knid: is not a known key (did you mean 'kind'?)",
        "a/case.toml.attempts: needs a whole number of at least 0",
        "b/case.toml.call[0].task: 'jobs.old_celery.restok' is not a mapped celery task "
        "(did you mean 'jobs.old_celery.restock'?)",
        "b/case.toml.kind: 'usaul' is not known (did you mean 'usual'?)",
        "c/case.toml.call[0]: has no parameter 'colour'",
        "d/case.toml.call[0].task: 'jobs.old_celery.forget' is not a mapped celery task (the plan retires it",
        "e/case.toml.call: is missing",
        "f/case.toml.http[0]: needs at most one of",
        "f/case.toml.worlds: 'nowhere' is not a file in _worlds",
        "g/case.toml.call: all calls of a case belong to one unified task",
        "h/case.toml: is missing",
        "i/case.toml: can't be read",
    ):
        assert text in found, found


def test_missing_files_are_errors(plan: Plan) -> None:
    add_case(plan, "a", CALL, rows_files=["none.json"], http=[{"contains": "/", "file": "none.txt"}])
    text = problems(plan)
    assert "rows_files: 'none.json' can't be read" in text
    assert "file: 'none.txt' can't be read" in text


def test_worlds_are_shared_and_the_cases_own_answers_take_precedence(plan: Plan) -> None:
    worlds = plan.folder / "cases" / "_worlds"
    worlds.mkdir()
    (worlds / "stock.toml").write_text(
        '[[rows]]\nmodel = "shop.Item"\nfields = { name = "a" }\n[[http]]\ncontains = "/"\n'
    )
    add_case(plan, "one", CALL, worlds=["stock"], http=[{"contains": "/stock/", "status": 500}])
    state = load(plan).cases[0].initial_state
    assert [answer["contains"] for answer in state.http] == ["/stock/", "/"]
    assert len(state.rows) == 1


CASSETTE = """
interactions:
- request: {body: null, headers: {}, method: GET, uri: 'https://supplier.example/stock/apple?day=1'}
  response:
    body: {string: '{"stock": 5}'}
    headers: {Content-Type: [application/json], Content-Encoding: [gzip]}
    status: {code: 200, message: OK}
version: 1
"""


def test_a_cassette_gives_answers(plan: Plan) -> None:
    file = add_case(plan, "one", CALL, cassettes=["day.yaml"])
    assert "cassettes: 'day.yaml' can't be read (FileNotFoundError" in problems(plan)
    file.with_name("day.yaml").write_text(CASSETTE)
    (answer,) = load(plan).cases[0].initial_state.http
    assert (answer["method"], answer["contains"], answer["times"]) == ("GET", "/stock/apple?day=1", 1)
    assert (answer["body"], answer["headers"]) == ('{"stock": 5}', {"Content-Type": "application/json"})


@pytest.mark.parametrize("text", ["", "- 1", "interactions: [{}]", "{"])
def test_what_is_not_a_cassette_is_reported(plan: Plan, text: str) -> None:
    file = add_case(plan, "one", CALL, cassettes=["day.yaml"])
    file.with_name("day.yaml").write_text(text)
    assert "cassettes: 'day.yaml' can't be read" in problems(plan)


def test_no_folder_is_an_error(plan: Plan) -> None:
    with pytest.raises(UsageError, match="--cases"):
        load_cases(plan.folder / "nowhere", plan)


def test_every_problem_of_the_configuration_is_listed(plan: Plan) -> None:
    file = plan.folder / "parity.toml"
    file.write_text('caes = "x"\n[[rule]]\npath = "a"\nkind = "tolerance"\n')
    with pytest.raises(PlanError) as error:
        load_configuration(plan)
    text = str(error.value)
    assert "caes: is not a known key (did you mean 'cases'?)" in text
    assert "rule[0].reason: is missing" in text
    assert "rule[0].tolerance: is missing" in text


def test_rules_and_paths(plan: Plan) -> None:
    file = plan.folder / "parity.toml"
    file.write_text('cases = "c"\n[[rule]]\npath = "a"\nkind = "ignore"\nreason = "r"\ncases = ["x*"]\n')
    configuration = load_configuration(plan)
    assert configuration.cases == plan.folder / "c"
    (rule,) = configuration.rules
    assert rule.kind is RuleKind.IGNORE and rule.cases == ("x*",)
    with pytest.raises(UsageError, match="no such file"):
        load_configuration(plan, file=plan.folder / "other.toml")


def test_the_brokers_of_the_plan_are_never_used(plan: Plan) -> None:
    assert broker_environment(plan, "redis://127.0.0.1:1") == {"SHOP_BROKER_URL": "redis://127.0.0.1:1/0"}

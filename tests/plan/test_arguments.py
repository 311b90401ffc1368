"""Arguments there and back, by the operations of the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt, bind, restore
from migrator.plan.loader import load_plan
from migrator.plan.model import Operation, OperationKind, Plan, TaskMapping
from migrator.wire.message import System

SAMPLE = Path(__file__).parents[2] / "fixtures/legacy_project/migration.toml"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(SAMPLE)


def mapping(*operations: Operation, parameters: tuple[str, ...] = ("a", "b")) -> TaskMapping:
    return TaskMapping(
        system=System.CELERY,
        name="legacy",
        path="m.legacy",
        parameters=parameters,
        operations=operations,
        unified="tasks.new",
        primary=True,
    )


def test_a_call_without_operations_stays_as_it_is() -> None:
    assert adapt(mapping(), (1,), {"b": 2}) == ((1,), {"b": 2})


def test_one_symbol_becomes_a_list_of_one_however_it_was_given(plan: Plan) -> None:
    task = plan.mapping(System.CELERY, "tasks.celery_tasks.calculate_indicators_task")
    assert task is not None
    assert adapt(task, ("AAPL", 100), {}) == ((), {"symbols": ["AAPL"], "period": 100})
    assert adapt(task, (), {"symbol": "AAPL"}) == ((), {"symbols": ["AAPL"]})


def test_a_dropped_argument_goes_and_the_others_stay(plan: Plan) -> None:
    task = plan.mapping(System.DRAMATIQ, "fetch_technical_indicators_task")
    assert task is not None
    assert adapt(task, ("AAPL",), {"indicators": ["sma"]}) == ((), {"symbols": ["AAPL"]})


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        ((1, 2, 3), {}, "takes 2 arguments"),
        ((1,), {"a": 2}, "'a' is given twice"),
        ((), {"c": 2}, "has no parameter 'c'"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any], expected: str) -> None:
    with pytest.raises(AdaptationError, match=expected):
        adapt(mapping(), args, kwargs)


def test_two_symbols_have_no_legacy_form(plan: Plan) -> None:
    task, primary = plan.task("tasks.calculate_indicators"), plan.primary("tasks.calculate_indicators")
    assert task is not None and primary is not None
    assert restore(primary, task.parameters, (["AAPL"], 50), {}) == ((), {"symbol": "AAPL", "period": 50})
    with pytest.raises(AdaptationError, match="exactly one item"):
        restore(primary, task.parameters, (["AAPL", "MSFT"],), {})
    with pytest.raises(AdaptationError, match="exactly one item"):
        restore(primary, task.parameters, (), {"symbols": None})


def test_a_constant_is_added_and_taken_away_again() -> None:
    constant = mapping(Operation(kind=OperationKind.CONSTANT, name="source", value="auto"), parameters=("a",))
    assert adapt(constant, (1,), {}) == ((), {"a": 1, "source": "auto"})
    assert restore(constant, ("a", "source"), (), {"a": 1, "source": "auto"}) == ((), {"a": 1})
    with pytest.raises(AdaptationError, match="source has no legacy form"):
        restore(constant, ("a", "source"), (1, "yahoo"), {})


def test_a_parameter_that_only_the_unified_task_has_is_refused_on_the_way_back() -> None:
    with pytest.raises(AdaptationError, match="legacy takes no limit"):
        restore(mapping(), ("a", "b", "limit"), (), {"limit": 3})


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)


@given(given=st.dictionaries(st.sampled_from(["a", "b"]), JSON), positional=st.integers(0, 2))
def test_there_and_back_binds_to_the_same_arguments(given: dict[str, Any], positional: int) -> None:
    task = mapping(
        Operation(kind=OperationKind.WRAP, name="a", to="many"),
        Operation(kind=OperationKind.RENAME, name="b", to="limit"),
        Operation(kind=OperationKind.CONSTANT, name="source", value="auto"),
    )
    args: list[Any] = []
    kwargs = dict(given)
    for name in ("a", "b")[:positional]:
        if name not in kwargs:
            break
        args.append(kwargs.pop(name))
    unified_args, unified_kwargs = adapt(task, args, kwargs)
    back = restore(task, ("many", "limit", "source"), unified_args, unified_kwargs)
    assert bind(task, *back) == bind(task, args, kwargs) == given


def _planned(tmp_path: Path, unified: list[str], *, result_last: bool = False) -> TaskMapping:
    """Return the mapping of a task with the legacy parameters a and b."""
    text = SAMPLE.read_text().partition("[[task]]")[0]
    text += f"""
[[task]]
name = "u.work"
path = "u.work"
parameters = {unified}
result_last = {str(result_last).lower()}
  [[task.replaces]]
  system = "dramatiq"
  name = "work"
  parameters = ["a", "b"]
"""
    (tmp_path / "migration.toml").write_text(text)
    return load_plan(tmp_path / "migration.toml").tasks[0].replaces[0]


@pytest.mark.parametrize("unified", [["b", "a"], ["a", "c", "b"], ["c", "a", "b"]])
def test_a_parameter_at_another_position_is_given_by_name(tmp_path: Path, unified: list[str]) -> None:
    task = _planned(tmp_path, unified)
    assert adapt(task, (1, 2), {}) == ((), {"a": 1, "b": 2})
    assert restore(task, unified, (), {"a": 1, "b": 2}) == ((), {"a": 1, "b": 2})


@pytest.mark.parametrize("unified", [["a", "b"], ["a", "b", "c"]])
def test_the_same_positions_stay_positions(tmp_path: Path, unified: list[str]) -> None:
    assert adapt(_planned(tmp_path, unified), (1, 2), {}) == ((1, 2), {})


def test_with_result_last_a_position_is_the_first_parameter_without_a_name(tmp_path: Path) -> None:
    task = _planned(tmp_path, ["a", "b"], result_last=True)
    assert restore(task, ["a", "b"], (2,), {"a": 1}) == ((), {"a": 1, "b": 2})
    assert restore(task, ["a", "b"], (1,), {"b": 2}) == ((1,), {"b": 2})
    with pytest.raises(AdaptationError, match="takes 2 arguments"):
        restore(task, ["a", "b"], (1, 2), {"a": 1})

"""Rows of django_celery_beat as values: what changes, what is refused, and what an operator's change becomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrator.plan.loader import load_plan
from migrator.plan.model import Plan
from migrator.translation.periodic_rows import RowChanges, legacy_rows, unified_rows

PLAN = """\
[migration]
name = "rows"

[project]
root = "."
settings = "conf.settings"

[legacy.celery]
broker = "redis://127.0.0.1:6379/0"
queues = ["celery", "bulk"]
modules = ["jobs"]

[unified]
broker = "redis://127.0.0.1:6379/0"
queues = ["unified"]

[[task]]
name = "u.quote"
path = "u.quote"
parameters = ["symbols", "limit"]

  [[task.replaces]]
  system = "celery"
  name = "jobs.quote"
  parameters = ["symbol", "limit"]
  arguments = [{ wrap = "symbol", to = "symbols" }]
  queue = "bulk"

[[task]]
name = "u.news"
path = "u.news"
parameters = []

  [[task.replaces]]
  system = "dramatiq"
  name = "news"
  path = "jobs.news"
  parameters = []

[[task]]
name = "jobs.same"
path = "jobs.same"
parameters = []

  [[task.replaces]]
  system = "celery"
  name = "jobs.same"
  parameters = []

[[retired]]
system = "celery"
name = "jobs.old"
reason = "nobody reads it"

[[schedule]]
name = "quotes"
task = "u.quote"
every_s = 60
replaces = ["conf.settings:quote-a", "conf.settings:quote-b"]

[[retired_schedule]]
name = "conf.settings:gone"
reason = "not needed"
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    text = PLAN
    dramatiq = '[legacy.dramatiq]\nbroker = "redis://127.0.0.1:6379/1"\nqueues = ["default"]\nmodules = ["jobs"]\n\n'
    (tmp_path / "migration.toml").write_text(text.replace("[legacy.celery]", dramatiq + "[legacy.celery]"))
    return load_plan(tmp_path / "migration.toml")


def row(number: int, name: str, task: str, **more: Any) -> dict[str, Any]:
    empty = {"args": "[]", "kwargs": "{}", "queue": None, "exchange": None, "routing_key": None, "enabled": True}
    return {"id": number, "name": name, "task": task, **empty, **more}


def applied(rows: list[dict[str, Any]], changes: RowChanges) -> list[dict[str, Any]]:
    after = {change["id"]: change["after"] for change in changes.changes}
    return [{**each, **after.get(each["id"], {})} for each in rows if each["id"] not in changes.delete]


def back(plan: Plan, rows: list[dict[str, Any]], before: list[dict[str, Any]], there: RowChanges) -> RowChanges:
    known = [each["id"] for each in before]
    return legacy_rows(plan, rows, there.changes, known=known, made=["quotes", "native"])


@pytest.mark.parametrize(
    "untouched",
    [
        row(1, "other", "somebody.else", kwargs='{"symbol": "A"}'),
        row(1, "cleanup", "celery.backend_cleanup"),
        row(1, "kept", "jobs.same"),
        # The entries of the source of these names are of other tasks.
        row(1, "quote-a", "somebody.else"),
        row(1, "gone", "somebody.else"),
    ],
    ids=lambda given: given["name"],
)
def test_rows_of_other_tasks_are_left_alone_in_both_directions(plan: Plan, untouched: dict[str, Any]) -> None:
    there = unified_rows(plan, [untouched])
    assert there == RowChanges()
    assert back(plan, [untouched], [untouched], there) == RowChanges()


def test_rows_become_unified_where_they_stand_and_come_back_as_they_were(plan: Plan) -> None:
    before = [
        row(1, "plain", "jobs.quote", args='["A", 3]'),
        row(2, "off", "jobs.quote", kwargs='{"symbol": "B"}', enabled=False, queue="bulk"),
        row(3, "retired", "jobs.old"),
        row(4, "quote-a", "jobs.quote", args='["C"]'),
        row(5, "quote-b", "jobs.quote", args='["D"]'),
        row(6, "gone", "jobs.quote"),
        row(7, "unified queue", "jobs.quote", queue="unified"),
    ]
    there = unified_rows(plan, before)
    after = {each["name"]: each for each in applied(before, there)}
    assert (after["plain"]["task"], after["plain"]["kwargs"]) == ("u.quote", '{"limit":3,"symbols":["A"]}')
    assert (after["off"]["enabled"], after["off"]["queue"]) == (False, "unified")
    assert (after["retired"]["task"], after["retired"]["enabled"]) == ("jobs.old", False)
    assert after["quotes"]["id"] == 4 and after["quotes"]["enabled"], "the entry that replaces it goes on with its row"
    assert (after["quote-b"]["task"], after["quote-b"]["enabled"]) == ("u.quote", False)
    assert not after["gone"]["enabled"] and after["unified queue"]["queue"] == "unified"
    assert len(there.notes) == 3 and not there.problems
    assert unified_rows(plan, applied(before, there)).changes == (), "a second time changes nothing"
    home = back(plan, applied(before, there), before, there)
    assert applied(applied(before, there), home) == before
    assert not home.problems and not home.notes


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"routing_key": "high"}, "names a routing key"),
        ({"exchange": "e"}, "names a exchange"),
        ({"queue": "imports"}, "no unified worker reads its queue"),
        ({"args": "[1,"}, "no JSON"),
        ({"args": '["A", 1, 2]'}, "takes 2 arguments"),
        ({"kwargs": '{"ticker": "A"}'}, "no parameter 'ticker'"),
    ],
)
def test_what_only_an_operator_knows_is_a_problem(plan: Plan, more: dict[str, Any], why: str) -> None:
    found = unified_rows(plan, [row(1, "r", "jobs.quote", **more)])
    assert not found.changes
    assert [(problem.name, problem.enabled) for problem in found.problems] == [("r", True)]
    assert why in found.problems[0].why


def test_what_an_operator_changed_meanwhile_is_kept(plan: Plan) -> None:
    before = [row(number, f"r{number}", "jobs.quote", args='["A"]') for number in range(5)]
    before.append(row(5, "retired", "jobs.old"))
    there = unified_rows(plan, before)
    meanwhile = applied(before, there)
    meanwhile[0]["enabled"] = False
    meanwhile[1]["kwargs"] = '{"symbols":["IBM"],"limit":2}'
    meanwhile[2]["kwargs"] = '{"symbols":["A","B"]}'
    meanwhile[3]["task"] = "somebody.else"
    meanwhile[4]["name"] = "renamed"
    meanwhile[5]["enabled"] = True
    home = back(plan, meanwhile, before, there)
    found = applied(meanwhile, home)
    assert found[0] == {**before[0], "enabled": False}
    assert found[1] == {**before[1], "args": "[]", "kwargs": '{"limit":2,"symbol":"IBM"}', "queue": None}
    assert (found[2]["task"], found[2]["enabled"]) == ("u.quote", False)
    assert [problem.name for problem in home.problems] == ["r2"]
    assert found[3] == meanwhile[3] and "somebody.else" in home.notes[0]
    assert found[4] == {**before[4], "name": "renamed"}
    assert found[5] == before[5]


def test_rows_made_since_get_their_legacy_form_or_are_deleted_or_switched_off(plan: Plan) -> None:
    made = [
        row(1, "by hand", "u.quote", kwargs='{"symbols": ["A"]}', queue="unified"),
        row(2, "quotes", "u.quote", enabled=False),
        row(3, "only an actor", "u.news"),
        row(4, "native", "u.news"),
    ]
    home = back(plan, made, [], RowChanges())
    found = {each["name"]: each for each in applied(made, home)}
    assert (found["by hand"]["task"], found["by hand"]["queue"]) == ("jobs.quote", "bulk")
    assert set(found) == {"by hand", "only an actor"} and not found["only an actor"]["enabled"]
    assert "switched off meanwhile" in home.notes[0]
    off = [change["id"] for change in home.changes if change["after"] == {"enabled": False}]
    again = applied(list(found.values()), unified_rows(plan, list(found.values()), switched_off=off))
    assert {each["name"]: (each["task"], each["enabled"]) for each in again} == {
        "by hand": ("u.quote", True),
        "only an actor": ("u.news", True),
    }


def test_a_way_there_that_was_noted_and_not_written_needs_no_way_back(plan: Plan) -> None:
    before = [row(1, "plain", "jobs.quote", args='["A", 3]')]
    assert back(plan, before, before, unified_rows(plan, before)) == RowChanges()

"""Messages of tasks outside of the plan's scope are left in their queues, in their order, and counted by task."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import celery
import dramatiq
from message_traffic import CELERY_TASK, Scene

from migrator.brokers.connect import connect
from migrator.plan.model import Plan
from migrator.transfer.scope import planned_depths
from migrator.wire.message import State, System

WANTED = "tasks.health_check"


def narrowed(plan: Plan, *systems: System) -> Plan:
    """Return the plan with one task, of these systems only; everything else stays."""
    task = plan.task(WANTED)
    assert task is not None
    mappings = tuple(mapping for mapping in task.replaces if mapping.system in systems)
    scope = tuple({mapping.path.rpartition(".")[0] for mapping in mappings})
    mine = replace(task, replaces=(replace(mappings[0], primary=True), *mappings[1:]))
    return replace(plan, tasks=(mine,), retired=(), schedule=(), retired_schedule=(), scope=scope)


def mixed(scene: Scene) -> dict[str, list[str]]:
    """Enqueue messages of three tasks, in turns; return the ids by task."""
    ids: dict[str, list[str]] = {"wanted": [], "others": []}
    for number in range(40):
        ids["wanted"] += [scene.send("health_check_task"), scene.apply("health_check_task")]
        ids["others"] += [scene.send("nobody_knows", number), scene.apply("fetch_yahoo_stocks_task", f"A{number}")]
    ids["others"] += [scene.send("fetch_news_task", delay=60_000)]
    return ids


def test_messages_of_tasks_that_stay_are_left_and_counted(any_scene: Scene) -> None:
    scene = any_scene
    scene.plan = narrowed(scene.plan, *System)
    ids = mixed(scene)
    before = scene.legacy_state()
    planned = scene.forward(dry_run=True)
    report = scene.forward()
    names = {"fetch_news_task": 1, "nobody_knows": 40, "tasks.celery_tasks.fetch_yahoo_stocks_task": 40}
    for each in (planned, report):
        assert (each.seen, each.moved, each.quarantined, each.balance) == (161, 80, 0, 0)
        assert dict(each.stays) == names
    assert sorted(scene.unified_calls()) == sorted(ids["wanted"])
    after = scene.legacy_state()
    for key, value in before.items():
        if isinstance(value, list):
            # In their order, and as they were.
            assert after[key] == [entry for entry in value if entry in after[key]], key
    again = scene.forward()
    assert (again.moved, dict(again.stays)) == (0, names)
    assert scene.legacy_state() == after
    back = scene.back()
    assert (back.moved, back.quarantined, back.balance) == (80, 0, 0)
    assert {key: sorted(value) for key, value in scene.legacy_state().items()} == {
        key: sorted(value) for key, value in before.items()
    }


def test_a_name_of_the_plan_means_its_own_system_only(scene: Scene) -> None:
    scene.plan = narrowed(scene.plan, System.DRAMATIQ)
    moved, left = scene.send("health_check_task"), scene.apply("health_check_task")
    report = scene.forward()
    assert list(scene.unified_calls()) == [moved]
    assert dict(report.stays) == {"tasks.celery_tasks.health_check_task": 1}
    assert scene.ids()["celery", left] == 1


def test_what_cannot_be_read_is_left_to_those_who_stay(scene: Scene) -> None:
    scene.plan = narrowed(scene.plan, *System)
    scene.legacy.lpush("celery", b"\x80no message")
    report = scene.forward()
    assert (report.quarantined, dict(report.stays)) == (0, {"unreadable": 1})
    assert scene.legacy.lrange("celery", 0, -1) == [b"\x80no message"]


def test_others_in_the_unified_queue_are_left_on_the_way_back(scene: Scene) -> None:
    scene.plan = narrowed(scene.plan, *System)
    other, mine = scene.apply_unified("reports.nightly"), scene.apply_unified(WANTED)
    report = scene.back()
    assert (report.moved, report.quarantined, dict(report.stays)) == (1, 0, {"reports.nightly": 1})
    assert list(scene.unified_calls()) == [other]
    assert mine not in scene.unified_calls()


def test_what_stays_and_goes_on_with_a_task_of_the_plan_is_told(scene: Scene) -> None:
    scene.plan = narrowed(scene.plan, *System)
    following = dramatiq.Message(queue_name="default", actor_name="health_check_task", args=(), kwargs={}, options={})
    scene.send("nobody_knows", options={"pipe_target": following.asdict()})
    scene.send("nobody_knows", options={"pipe_target": {**following.asdict(), "actor_name": "nor_this"}})
    name = CELERY_TASK + "health_check_task"
    scene.apply("fetch_yahoo_stocks_task", link=celery.signature(name, app=scene.celery))
    scene.apply("fetch_yahoo_stocks_task", kwargs={"task": "health_check_task"})
    report = scene.forward(dry_run=True)
    assert dict(report.goes_on) == {"health_check_task": 1, name: 1}
    assert report.stays.keys() == {"nobody_knows", CELERY_TASK + "fetch_yahoo_stocks_task"}


def test_only_messages_of_the_plan_are_waited_for(scene: Scene) -> None:
    scene.plan = narrowed(scene.plan, *System)
    mixed(scene)
    for endpoint in scene.plan.legacy:
        with closing(connect(endpoint, scene.environ)) as broker:
            assert dict(planned_depths(scene.plan, endpoint, broker)) == {(endpoint.queues[0], State.READY): 40}
    scene.forward()
    for endpoint in scene.plan.legacy:
        with closing(connect(endpoint, scene.environ)) as broker:
            assert not any(planned_depths(scene.plan, endpoint, broker).values())
            assert any(broker.depths().values())

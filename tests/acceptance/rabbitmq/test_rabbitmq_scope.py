"""Messages of tasks outside of the plan's scope on RabbitMQ: left in their queues and in their order."""

from __future__ import annotations

from dataclasses import replace

from rabbit_scene import RabbitScene

from migrator.wire.message import State


def test_messages_of_tasks_that_stay_are_left_in_their_order(any_scene: RabbitScene) -> None:
    scene = any_scene
    task = scene.plan.task("tasks.health_check")
    assert task is not None
    scope = tuple({mapping.path.rpartition(".")[0] for mapping in task.replaces})
    scene.plan = replace(scene.plan, tasks=(task,), retired=(), schedule=(), retired_schedule=(), scope=scope)
    wanted, others = [], []
    for number in range(30):
        wanted += [scene.send("health_check_task"), scene.apply("health_check_task")]
        others += [scene.send("nobody_knows", number), scene.apply("fetch_yahoo_stocks_task", f"A{number}")]
    report = scene.forward()
    names = {"nobody_knows": 30, "tasks.celery_tasks.fetch_yahoo_stocks_task": 30}
    assert (report.moved, report.quarantined, report.balance, dict(report.stays)) == (60, 0, 0, names)
    assert order(scene) == others
    back = scene.back()
    assert (back.moved, back.quarantined, back.balance) == (60, 0, 0)
    assert [identity for identity in order(scene) if identity in others] == others
    assert sorted(order(scene)) == sorted(wanted + others)


def order(scene: RabbitScene) -> list[str]:
    """Return the waiting ids of both systems, in turns, in their order."""
    waiting = [
        [message.id for message in scene.broker(system).scan() if message.state is State.READY]
        for system in ("dramatiq", "celery")
    ]
    pairs = zip(*waiting, strict=True)
    return [identity for pair in pairs for identity in pair]

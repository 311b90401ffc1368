"""A transfer is done only if every message that was there is accounted for: here, there, or consumed by the living."""

from __future__ import annotations

import dataclasses

import pytest
from message_traffic import Scene, fill

from migrator.errors import ExitCode, RefusedError
from migrator.transfer.options import Direction, TransferOptions, TransferReport
from migrator.transfer.transfer import transfer

MESSAGES = 1000


def run(scene: Scene, act: object, direction: Direction = Direction.FORWARD) -> TransferReport:
    """Transfer everything; something happens before the fourth batch is claimed."""
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        if len(asked) == 4:
            act()  # type: ignore[operator]
        return False

    options = TransferOptions(batch_size=100, direction=direction)
    return transfer(scene.plan, environ=scene.environ, options=options, should_stop=should_stop)


def purge(scene: Scene) -> None:
    """Delete ten waiting messages of Dramatiq, by hand."""
    ids = scene.legacy.lpop("dramatiq:default", 10)
    assert scene.legacy.hdel("dramatiq:default.msgs", *ids) == 10


def purge_unified(scene: Scene) -> None:
    """Delete seven messages that have arrived, by hand."""
    (name,) = scene.unified.keys("unified*")
    assert len(scene.unified.rpop(name, 7)) == 7


@pytest.mark.parametrize("direction", Direction)
def test_what_somebody_deletes_at_the_source_is_missing(any_scene: Scene, direction: Direction) -> None:
    scene = any_scene
    fill(scene.legacy, MESSAGES)
    act, place = purge, "10 of [0-9]+ in legacy dramatiq:default"
    if direction is Direction.BACK:
        scene.forward()
        act, place = purge_unified, "7 of [0-9]+ in unified celery:unified"
    with pytest.raises(RefusedError, match=f"nobody consumes these queues.*{place}") as error:
        run(scene, lambda: act(scene), direction)
    assert error.value.exit_code is ExitCode.REFUSED
    assert run(scene, lambda: None, direction).balance == 0


def test_what_somebody_deletes_at_the_destination_is_missing(any_scene: Scene) -> None:
    scene = any_scene
    fill(scene.legacy, MESSAGES)
    with pytest.raises(RefusedError, match="7 of 1000 in unified celery:unified"):
        run(scene, lambda: purge_unified(scene))


def test_what_a_living_worker_consumes_is_not_missing(any_scene: Scene) -> None:
    scene = any_scene
    fill(scene.legacy, MESSAGES)
    scene.dramatiq.declare_queue("default")

    def consume() -> None:
        consumer = scene.dramatiq.consume("default", prefetch=10, timeout=1000)
        for _ in range(10):
            consumer.ack(next(consumer))
        consumer.close()

    report = run(scene, consume)
    assert (report.moved, report.balance) == (MESSAGES - 10, 0)


def test_what_a_producer_sends_meanwhile_hides_nothing_of_other_queues(any_scene: Scene) -> None:
    scene = any_scene
    fill(scene.legacy, MESSAGES)

    def act() -> None:
        purge(scene)
        for _ in range(20):
            scene.apply("fetch_yahoo_stocks_task", ["AAPL"])

    with pytest.raises(RefusedError, match="legacy dramatiq:default"):
        run(scene, act)


def test_parked_messages_are_counted_where_they_will_be_released(any_scene: Scene) -> None:
    unified = dataclasses.replace(any_scene.plan.unified, queues=("other", "unified"))
    tasks = tuple(dataclasses.replace(task, queue="unified") for task in any_scene.plan.tasks)
    any_scene.plan = dataclasses.replace(any_scene.plan, unified=unified, tasks=tasks)
    any_scene.send("fetch_crypto_prices_task", ["BTC"], delay=int(unified.visibility_timeout_s * 600))
    report = any_scene.forward(park=True)
    assert (report.moved, report.parked, report.balance) == (1, 1, 0)

"""A short kill campaign on one server and on two; ``make chaos`` runs the long one."""

from __future__ import annotations

import pytest
from kill_campaign import carried_copies, legacy_copies, produce, run_campaign
from message_traffic import Scene


def test_nothing_is_lost_doubled_or_changed(any_scene: Scene) -> None:
    outcome = run_campaign(any_scene, messages=1500, kills=60, seed=11)
    assert outcome.kills >= 60
    assert outcome.resumed > 10, "kills have to hit the middle of a batch to mean anything"
    assert (outcome.lost, outcome.doubled, outcome.changed) == ([], [], [])


@pytest.mark.parametrize("fault", ["lost", "doubled", "changed"])
def test_the_campaign_would_notice(scene: Scene, fault: str) -> None:
    produce(scene, 100)
    before = legacy_copies(scene)
    scene.forward()
    if fault == "lost":
        scene.unified.rpop("unified")
        assert len(carried_copies(scene)) == 99
    elif fault == "doubled":
        scene.unified.lpush("unified", scene.unified.lrange("unified", 0, 0)[0])
        assert max(carried_copies(scene).values()) == 2
    else:
        scene.back()
        key = next(iter(scene.legacy.hkeys("dramatiq:default.msgs")))
        scene.legacy.hset("dramatiq:default.msgs", key, b"{}")
        assert legacy_copies(scene) != before

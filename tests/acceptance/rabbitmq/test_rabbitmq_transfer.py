"""Messages carried over RabbitMQ, in four constellations: forward, back, and none left on the way."""

from __future__ import annotations

import pytest
from rabbit_scene import RabbitScene, mixed

pytestmark = pytest.mark.timeout(120)


def test_there_and_back_gives_the_same_bytes(any_scene: RabbitScene) -> None:
    scene = any_scene
    ids = mixed(scene, 300)
    before = scene.legacy()
    assert sum(len(content) for content in before.values()) == 300
    out = scene.forward()
    assert (out.moved, out.kept, out.balance) == (300, 0, 0)
    assert not any(scene.legacy().values())
    assert scene.ids() == {("unified", identity): 1 for identity in ids}
    assert len(scene.unified_calls()) == 300
    back = scene.back()
    assert (back.moved, back.kept, back.balance) == (300, 0, 0), back.kept_messages[:3]
    after = scene.legacy()
    assert {queue: sorted(map(repr, content)) for queue, content in after.items()} == {
        queue: sorted(map(repr, content)) for queue, content in before.items()
    }
    assert scene.forward().moved == 300
    assert scene.back().moved == 300


def test_running_twice_does_nothing(any_scene: RabbitScene) -> None:
    mixed(any_scene, 40)
    any_scene.forward()
    ids = any_scene.ids()
    report = any_scene.forward()
    assert (report.seen, report.moved, report.balance) == (0, 0, 0)
    assert any_scene.ids() == ids

"""A snapshot of queues on RabbitMQ, and its way back."""

from __future__ import annotations

from pathlib import Path

import pytest
from rabbit_scene import RabbitScene, mixed

from migrator.errors import RefusedError
from migrator.snapshots.rabbitmq import make_room
from migrator.snapshots.snapshot import restore_snapshot, write_snapshot
from migrator.transfer.locate import locate

pytestmark = pytest.mark.timeout(120)


def test_a_snapshot_brings_everything_back(any_scene: RabbitScene, tmp_path: Path) -> None:
    scene, file = any_scene, tmp_path / "messages.snapshot"
    mixed(scene, 60)
    scene.apply("debug_task")
    before, ids = scene.legacy(), scene.ids()
    facts = write_snapshot(scene.plan, environ=scene.environ, file=file)
    assert facts.messages == 61
    assert scene.legacy() == before
    scene.forward()
    with pytest.raises(RefusedError, match="would double"):
        restore_snapshot(scene.plan, environ=scene.environ, file=file)
    restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    assert scene.legacy() == before
    assert scene.ids() == ids
    assert scene.forward().moved == 60


def test_a_snapshot_between_two_directions_holds_what_is_kept(rabbit_only: RabbitScene, tmp_path: Path) -> None:
    scene, file = rabbit_only, tmp_path / "messages.snapshot"
    mixed(scene, 10)
    scene.apply("debug_task")
    scene.forward()
    ids = scene.ids()
    assert write_snapshot(scene.plan, environ=scene.environ, file=file).messages == 11
    scene.back()
    restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    assert scene.ids() == ids
    assert (scene.back().moved, sum(scene.ids().values())) == (10, 11)


def test_what_has_run_is_known_from_a_snapshot(rabbit_only: RabbitScene) -> None:
    scene = rabbit_only
    sent, applied = scene.send("health_check_task"), scene.apply("health_check_task")
    write_snapshot(scene.plan, environ=scene.environ, file=scene.plan.state_folder / "snapshots" / "run-1.snapshot")
    make_room(scene.broker("dramatiq"))
    make_room(scene.broker("celery"))
    for identity, address in ((sent, "legacy.dramatiq default"), (applied, "legacy.celery celery")):
        found = locate(scene.plan, environ=scene.environ, identity=identity)
        assert ([seen.address for seen in found.recorded], found.sightings) == ([address], ())

"""A snapshot holds every message in every state, and restores it; a damaged one is refused."""

from __future__ import annotations

import gzip
import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from message_traffic import Scene, fill, mixed

from migrator.brokers.connect import connect
from migrator.errors import RefusedError, UsageError
from migrator.snapshots.snapshot import restore_snapshot, verify_snapshot, write_snapshot


def _snapshot(scene: Scene) -> Path:
    file = scene.plan.state_folder / "snapshots" / "before.jsonl.gz"
    write_snapshot(scene.plan, environ=scene.environ, file=file)
    return file


def test_everything_comes_back(any_scene: Scene) -> None:
    scene = any_scene
    mixed(scene, 700)
    fill(scene.legacy, 600)
    before = scene.legacy_state()
    file = _snapshot(scene)
    assert scene.legacy_state() == before, "writing a snapshot takes nothing"
    facts = verify_snapshot(file)
    assert facts.messages == 1300
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not list(file.parent.glob("*.partial"))
    for client in {scene.legacy, scene.unified}:
        client.flushall()
    restore_snapshot(scene.plan, environ=scene.environ, file=file)
    assert scene.legacy_state() == before
    assert scene.forward().moved == 1300


def test_every_state_is_included(scene: Scene) -> None:
    quarantined = scene.send("cleanup_old_cache_task", 24)
    parked = scene.apply_unified("tasks.health_check")
    scene.forward()
    scene.unified.zadd("tqm:parked", {scene.unified.rpop("unified"): time.time() * 1000})
    taken = scene.send("health_check_task")
    scene.legacy.sadd("dramatiq:__acks__.worker.default", scene.legacy.lpop("dramatiq:default"))
    dead_id = scene.send("fetch_news_task")
    copy = scene.legacy.lpop("dramatiq:default")
    scene.legacy.zadd("dramatiq:default.XQ", {copy: 5})
    scene.legacy.hset("dramatiq:default.XQ.msgs", copy, scene.legacy.hget("dramatiq:default.msgs", copy))
    scene.legacy.hdel("dramatiq:default.msgs", copy)
    unacked = scene.apply("health_check_task")
    raw = scene.legacy.rpop("celery")
    scene.legacy.hset("unacked", "tag", json.dumps([json.loads(raw), "", "celery"]))
    scene.legacy.zadd("unacked_index", {"tag": time.time()})

    def contents() -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for endpoint in (*scene.plan.legacy, scene.plan.unified):
            broker = connect(endpoint, scene.environ)
            for message in broker.scan():
                found[message.id, message.state.value] = found.get((message.id, message.state.value), 0) + 1
            broker.close()
        return found

    assert contents() == {
        (quarantined, "quarantined"): 1,
        (parked, "parked"): 1,
        (taken, "claimed"): 1,
        (dead_id, "dead"): 1,
        (unacked, "claimed"): 1,
    }
    file = _snapshot(scene)
    assert verify_snapshot(file).messages == 5
    with pytest.raises(RefusedError, match="the queues hold messages"):
        restore_snapshot(scene.plan, environ=scene.environ, file=file)
    scene.legacy.hset("unacked", "foreign", json.dumps([{"body": "", "properties": {}}, "", "others"]))
    restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    # What a worker had claimed waits again: its owner is gone.
    assert contents() == {
        (quarantined, "quarantined"): 1,
        (parked, "parked"): 1,
        (taken, "ready"): 1,
        (dead_id, "dead"): 1,
        (unacked, "ready"): 1,
    }
    assert scene.legacy.hkeys("unacked") == [b"foreign"], "other applications' messages stay"


def test_restoring_twice_with_replacement_gives_the_same(scene: Scene) -> None:
    mixed(scene, 30)
    before = scene.legacy_state()
    file = _snapshot(scene)
    for _ in range(2):
        restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    assert scene.legacy_state() == before


def test_what_was_moved_after_the_snapshot_can_be_moved_again(two_servers: Scene) -> None:
    scene = two_servers
    mixed(scene, 30)
    file = _snapshot(scene)
    scene.forward()
    restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    report = scene.forward()
    assert (report.moved, report.already_there) == (30, 0), "the ledger was restored with the messages"


@pytest.mark.parametrize("damage", ["cut", "flipped", "edited", "not gzip", "empty"])
def test_a_damaged_file_is_refused_and_nothing_is_touched(scene: Scene, damage: str) -> None:
    mixed(scene, 20)
    before = scene.legacy_state()
    file = _snapshot(scene)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "edited":
        file.write_bytes(gzip.compress(gzip.decompress(content).replace(b'"plan"', b'"plan" ', 1)))
    else:
        file.write_bytes(b"" if damage == "empty" else b"hello")
    with pytest.raises(UsageError, match=r"damaged|can't be read"):
        restore_snapshot(scene.plan, environ=scene.environ, file=file, replace=True)
    assert scene.legacy_state() == before


def test_queues_that_the_plan_no_longer_has_are_refused_and_nothing_is_touched(scene: Scene) -> None:
    mixed(scene, 20)
    file, before = _snapshot(scene), scene.legacy_state()
    dramatiq, celery = scene.plan.legacy
    for plan in (
        replace(scene.plan, legacy=(dramatiq,)),
        replace(scene.plan, legacy=(replace(dramatiq, queues=("other",)), celery)),
        replace(scene.plan, legacy=(dramatiq, replace(celery, priority_separator=":"))),
    ):
        with pytest.raises(UsageError, match=r"queues that are not in the plan.*as it was then"):
            restore_snapshot(plan, environ=scene.environ, file=file, replace=True)
        assert scene.legacy_state() == before


def test_a_foreign_entry_among_the_quarantined_messages_is_a_clear_error(scene: Scene) -> None:
    scene.legacy.hset("tqm:kept:legacy:dramatiq", "foo", "bar")
    with pytest.raises(RefusedError, match=r"tqm:kept:legacy:dramatiq foo: .*not written by this tool.*HGET"):
        scene.back()


def test_a_missing_file_is_a_clear_error(scene: Scene) -> None:
    with pytest.raises(UsageError, match="can't be read"):
        verify_snapshot(scene.plan.state_folder / "nothing.gz")

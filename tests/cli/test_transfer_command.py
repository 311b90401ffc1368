"""``migrator transfer`` as an operator runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dramatiq
import pytest
import redis
from dramatiq.brokers.redis import RedisBroker

PLAN = Path(__file__).resolve().parents[2] / "fixtures" / "legacy_project" / "migration.toml"
MIGRATOR = Path(sys.executable).with_name("migrator")


@pytest.fixture
def folder(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "migration.toml").write_text(PLAN.read_text())
    monkeypatch.setenv("DRAMATIQ_BROKER_URL", redis_url)
    monkeypatch.setenv("CELERY_BROKER_URL", redis_url)
    return tmp_path


def _send(url: str, actor: str, *args: object) -> str:
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name="default", actor_name=actor, args=args, kwargs={}, options={}
    )
    return RedisBroker(url=url, middleware=[]).enqueue(message).message_id


def _run(folder: Path, *arguments: str) -> tuple[int, dict[str, object]]:
    command = [MIGRATOR, "transfer", "--format", "json", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, json.loads(result.stdout)


def test_dry_run_move_find_and_back(folder: Path, redis_url: str) -> None:
    moved, quarantined = _send(redis_url, "health_check_task"), _send(redis_url, "cleanup_old_cache_task", 24)
    code, report = _run(folder, "--dry-run")
    assert (code, report["moved"], report["quarantined"]) == (1, 1, 1)
    assert "cleanup_old_cache_task" in report["examples"]["retired-task"]  # type: ignore[index]
    code, report = _run(folder)
    assert (code, report["error"]) == (4, "confirmation: there is no terminal to ask on; add --yes")
    code, report = _run(folder, "--yes")
    assert (code, report["moved"], report["quarantined"], report["balance"]) == (0, 1, 1, 0)
    code, found = _run(folder, "--find", moved)
    assert (code, found["sightings"][0]["side"]) == (0, "unified")  # type: ignore[index]
    code, found = _run(folder, "--find", quarantined)
    assert found["entries"][0]["fate"] == "kept:retired-task"  # type: ignore[index]
    assert _run(folder, "--find", "nobody")[0] == 1
    code, report = _run(folder, "--back", "--yes")
    assert (code, report["moved"], report["restored"]) == (0, 1, 1)


def test_the_text_names_queue_task_and_reason(folder: Path, redis_url: str) -> None:
    _send(redis_url, "health_check_task")
    _send(redis_url, "cleanup_old_cache_task", 24)
    result = subprocess.run(
        [MIGRATOR, "transfer", "--yes"], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    assert "forward: moved 1, quarantined 1; balance 0" in result.stdout
    for line in ("dramatiq:default: 1", "health_check_task: 1", "quarantined, retired-task: 1", "what to do: nothing"):
        assert line in result.stdout


def test_a_dry_run_shows_reasons_and_the_command_to_run(folder: Path, redis_url: str) -> None:
    _send(redis_url, "health_check_task")
    quarantined = _send(redis_url, "cleanup_old_cache_task", 24)
    command = [MIGRATOR, "transfer", "--dry-run", "--queue", "default", "--task", "cleanup_old_cache_task"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    lines = result.stdout.splitlines()
    assert lines[0].endswith("0 would be moved, 1 quarantined, 1 filtered out")
    assert f"  dramatiq:default {quarantined} cleanup_old_cache_task: the cache expires its own entries" in lines
    assert lines[-1] == "next: migrator transfer --task cleanup_old_cache_task --queue default"


@pytest.mark.parametrize(("option", "name"), [("--task", "health_chek_task"), ("--queue", "defualt")])
def test_a_filter_with_an_unknown_name_is_refused(folder: Path, option: str, name: str) -> None:
    code, answer = _run(folder, "--dry-run", option, name)
    assert code == 2
    assert "did you mean" in str(answer["error"])


def test_a_bridge_ends_cleanly_with_a_signal(folder: Path, redis_url: str) -> None:
    command = [MIGRATOR, "transfer", "--follow", "--yes", "--format", "json"]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)
    )
    try:
        client = redis.Redis.from_url(redis_url)
        sent = [_send(redis_url, "health_check_task") for _ in range(3)]
        deadline = time.monotonic() + 30
        while client.llen("unified\x06\x163") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert json.loads(output)["moved"] == len(sent)
    assert client.get("tqm:lock") is None


def test_a_snapshot_is_written_first_and_can_be_restored(folder: Path, redis_url: str) -> None:
    _run(folder, "--yes")
    assert not list((folder / ".migrator/snapshots").iterdir()), "no snapshot without messages"
    left = [folder / f".migrator/snapshots/.transfer-{name}.partial" for name in ("old", "young")]
    for partial, age_s in zip(left, (7200, 0), strict=True):
        partial.touch()
        os.utime(partial, (time.time() - age_s,) * 2)
    sent = _send(redis_url, "health_check_task")
    client = redis.Redis.from_url(redis_url)
    before = client.hgetall("dramatiq:default.msgs")
    report = _run(folder, "--yes")[1]
    assert report["moved"] == 1
    assert [partial.exists() for partial in left] == [False, True], "the partial file of a killed run is deleted"
    restore = [MIGRATOR, "restore", str(report["snapshot"]), "--replace", "--yes"]
    subprocess.run(restore, cwd=folder, check=True, capture_output=True, timeout=60)
    assert client.hgetall("dramatiq:default.msgs") == before
    assert _run(folder, "--find", sent)[1]["sightings"][0]["side"] == "legacy"  # type: ignore[index]
    assert "snapshot" not in _run(folder, "--yes", "--no-snapshot")[1]


def test_claims_of_stopped_workers_are_reclaimed_on_request(folder: Path, redis_url: str) -> None:
    _send(redis_url, "health_check_task")
    client = redis.Redis.from_url(redis_url)
    client.sadd("dramatiq:__acks__.dead-worker.default", client.lpop("dramatiq:default"))
    client.zadd("dramatiq:__heartbeats__", {"dead-worker": int(time.time() - 600) * 1000})
    report = _run(folder, "--yes")[1]
    assert report["moved"] == 0
    assert "--take-claimed" in json.dumps(report["findings"])
    code, report = _run(folder, "--yes", "--take-claimed")
    assert code == 0, report
    assert (report["moved"], report["reclaimed"], report["balance"]) == (1, 1, 0)

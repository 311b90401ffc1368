"""``migrator rehearse`` on the sample with waiting messages, as an operator runs it: timings, and nothing touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from sample_scene import convert, open_scene

from codemods.report import Mode
from codemods.runner import rewrite
from migrator.demo.scratch import commit, manage
from migrator.demo.suppressions import suppress_leftovers
from migrator.plan.loader import load_plan
from migrator.state.proof import write_proof


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_the_sample_is_rehearsed_and_not_touched(tmp_path: Path) -> None:
    with open_scene(tmp_path) as scene:
        plan = scene.system.scratch.plan
        manage(scene.system.scratch, ["migrate", "--verbosity", "0"])
        scene.system.enqueue(300)
        suppress_leftovers(plan.folder, rewrite(plan, mode=Mode.CHECK).leftovers)
        commit(plan.folder, "Decide about the places that the rewrite leaves alone")
        convert(scene)
        # What parity-check would have written; it has its own tests.
        write_proof(plan, case_paths=(), counts={"compared": 1}, versions={})
        with redis.Redis(port=scene.server.port, socket_timeout=5) as client:
            before = client.dbsize(), client.lrange("celery", 0, -1), client.hgetall("dramatiq:default.msgs")
        command = [str(Path(sys.executable).with_name("migrator")), "rehearse", "--format", "json"]
        done = subprocess.run(
            command, cwd=plan.folder, env=dict(scene.environ), capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        found = json.loads(done.stdout)
        assert [run["command"] for run in found["runs"]] == ["cutover", "rollback", "cutover"]
        assert found["messages"] == 300
        there, back, again = found["runs"]
        for run in (there, again):
            assert run["moved"] + run["quarantined"] == 300
        assert back["moved"] == there["moved"], "kept-back messages come back as well, and are no part of this number"
        for run in found["runs"]:
            assert run["outcome"] == "done"
            assert run["downtime_s"] > 0
            assert run["elapsed_s"] > 0
        assert found["notes"] == [], "cache and results lie on the broker's server, so they are scratch as well"
        with redis.Redis(port=scene.server.port, socket_timeout=5) as client:
            assert before == (client.dbsize(), client.lrange("celery", 0, -1), client.hgetall("dramatiq:default.msgs"))
        assert not list(scene.system.scratch.audit_folder.glob("*.jsonl")), "a copy was run"
        assert load_plan(plan.file).fingerprint == plan.fingerprint

"""A whole demo run: real servers and workers, cutover, rollback and cutover again; as one JSON document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from migrator.embedded_redis import EmbeddedServer

MIGRATOR = Path(sys.executable).with_name("migrator")


@pytest.mark.acceptance
@pytest.mark.timeout(420)
def test_the_demo_loses_nothing_on_a_server_that_is_given(tmp_path: Path, redis_server: EmbeddedServer) -> None:
    command = [MIGRATOR, "demo", "--messages", "120", "--format", "json", "--redis-url", redis_server.url(5)]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    document = json.loads(result.stdout)
    assert document["exit_code"] == 0
    assert (document["lost"], document["duplicated"]) == (0, 0)
    assert document["cases"] >= 17 and document["files"] > 14
    assert 0 < document["downtime_s"] < 60
    assert all(document["checks"].values())
    assert document["tallies"]["proof"]["enqueued"] >= 120
    assert document["summary"].startswith("lost=0 duplicated=0 downtime_s=")
    assert list(tmp_path.iterdir()) == []


def test_a_demo_without_messages_is_refused(tmp_path: Path) -> None:
    command = [MIGRATOR, "demo", "--messages", "0"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert "--messages" in result.stderr

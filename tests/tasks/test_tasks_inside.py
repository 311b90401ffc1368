"""Runs the tests of `inside` in processes of their own, on SQLite and on PostgreSQL.

They need Django configured, and a process can be configured only once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tasks_host import environment

from migrator.embedded_redis import EmbeddedServer

INSIDE = Path(__file__).parent / "inside"


def _run(tmp_path: Path, server: EmbeddedServer, database_url: str, expected: str) -> None:
    environ = environment(server.url(0), "cache+memory://", "http://127.0.0.1:1")
    environ |= {"DATABASE_URL": database_url, "TASKS_INSIDE": "1", "HOST_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(INSIDE), "-q", "--no-header", "-rs", "-v"],
        env=environ, timeout=150, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert expected in done.stdout.splitlines()[-1]


def test_on_sqlite(tmp_path: Path, redis_server: EmbeddedServer) -> None:
    _run(tmp_path, redis_server, f"sqlite:///{tmp_path}/db.sqlite3", "1 skipped")


@pytest.mark.acceptance
def test_on_postgresql(tmp_path: Path, redis_server: EmbeddedServer, postgres_url: str) -> None:
    _run(tmp_path, redis_server, postgres_url, "passed")

"""Runs the tests of `inside` in processes of their own, on SQLite and on PostgreSQL.

They need Django configured, and a process can be configured only once.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tasks_host import environment
from tasks_postgres import MISSING, find_binaries, running_postgres

from migrator.servers import EmbeddedServer

INSIDE = Path(__file__).parent / "inside"


@pytest.fixture(scope="module")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_binaries() is None:
        pytest.skip(MISSING)
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        Path(folder).chmod(0o755)
        with running_postgres(Path(folder) / "server") as url:
            yield url


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

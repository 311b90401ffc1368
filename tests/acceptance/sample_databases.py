"""The databases of the sample under chaos: SQLite that somebody holds locked, PostgreSQL that crashes and recovers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sample_chaos import Chaos


@dataclass(frozen=True, kw_only=True)
class SQLite:
    """A file; the fault is another process that writes and does not come to an end."""

    file: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def fault(self, chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
        with sqlite3.connect(self.file, timeout=20, isolation_level=None) as database:
            database.execute("BEGIN IMMEDIATE")
            time.sleep(chaos.chance.uniform(0.5, 6))
            database.execute("ROLLBACK")
        database.close()


@dataclass(frozen=True, kw_only=True)
class PostgreSQL:
    """A server of our own; the fault is SIGKILL to its main process, and a start that recovers."""

    server: Any

    @property
    def url(self) -> str:
        return str(self.server.get_uri())

    def fault(self, chaos: Chaos, attempt: subprocess.Popen[str]) -> None:
        main = psutil.Process(self.server.get_pid())
        family = [main, *main.children(recursive=True)]
        os.kill(main.pid, signal.SIGKILL)
        # The others see that their parent is gone and end by themselves; none may be left when it starts again.
        _, left = psutil.wait_procs(family, timeout=20)
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=10)
        time.sleep(chaos.chance.uniform(0.1, 4))
        self.server.ensure_postgres_running()

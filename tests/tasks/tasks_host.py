"""A copy of the host project with the app installed as `tasks`, and its processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import waiting

HERE = Path(__file__).parent
APP = HERE.parents[1] / "migrator" / "tasks"


@dataclass
class Host:
    """One installed host project."""

    folder: Path
    environ: dict[str, str]
    broker_url: str

    def run(self, *command: str, timeout: float = 60, code: int = 0) -> str:
        """Run a command of the project to its end and return its output."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environ,
            timeout=timeout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, source: str) -> Any:
        """Run Python inside the project; the code assigns its result to `answer`."""
        text = (
            "import json, os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'hostsettings')\n"
            "import django; django.setup()\n"
            "from tasks import unified_tasks as u\nfrom tasks.models import TaskFailure\n"
            f"answer = None\n{source}\nprint(json.dumps(answer))"
        )
        return json.loads(self.run("-c", text).splitlines()[-1])

    def queued(self, queue: str = "unified") -> list[dict[str, Any]]:
        """Return the waiting messages, the next one first."""
        with redis.Redis.from_url(self.broker_url, socket_timeout=5) as client:
            lists = [queue, *(f"{queue}\x06\x16{step}" for step in (3, 6, 9))]
            return [json.loads(raw) for name in lists for raw in reversed(client.lrange(name, 0, -1))]

    def failures(self) -> list[dict[str, Any]]:
        """Return all dead letters, the newest first, as `taskfailures show` prints them."""
        rows: list[dict[str, Any]] = self.python(
            "from tasks.management.commands.taskfailures import _whole\n"
            "answer = [_whole(row) for row in TaskFailure.objects.all()]"
        )
        return rows

    @contextmanager
    def worker(self, *options: str, **environ: str) -> Iterator[Worker]:
        """Run a worker; it is ready when the block begins."""
        log = self.folder / f"worker-{time.monotonic_ns()}.log"
        fixed = ("-m", "celery", "-A", "tasks", "worker", "--loglevel=info", "-n", f"w{time.monotonic_ns()}@%h")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *fixed, "--without-gossip", "--without-mingle", *options],
                cwd=self.folder,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        worker = Worker(process=process, log=log)
        try:
            worker.wait_for(" ready.")
            yield worker
        finally:
            worker.stop()


@dataclass
class Worker:
    """A running worker."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, times: int = 1, timeout: float = 30) -> None:
        """Wait until the log contains a text."""
        wait_until(lambda: self.text().count(text) >= times, f"{text!r} x{times}", timeout=timeout, log=self.text)

    def stop(self) -> None:
        """Stop it with SIGTERM; kill it after 20 s."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)


def wait_until(
    happened: Callable[[], bool], what: str, *, timeout: float = 30, log: Callable[[], str] = lambda: ""
) -> None:
    """Wait for something, and say what when it does not come."""
    waiting.wait_until(happened, timeout_s=timeout, what=lambda: f"{what}\n{log()[-6000:]}")


def install(folder: Path, *, broker_url: str, result_url: str, market_url: str, database_url: str = "") -> Host:
    """Copy host and app, as the toolkit installs it, and migrate."""
    skip = shutil.ignore_patterns("__pycache__", "*.sqlite3*")
    shutil.copytree(HERE / "host", folder, ignore=skip)
    shutil.copytree(APP, folder / "tasks", ignore=skip)
    app_file = folder / "tasks" / "celery.py"
    before = app_file.read_text()
    after = before.replace('"migrator.tasks.settings"', '"hostsettings"')
    assert after != before
    app_file.write_text(after)
    host = Host(folder=folder, environ=environment(broker_url, result_url, market_url), broker_url=broker_url)
    if database_url:
        host.environ["DATABASE_URL"] = database_url
    host.run("manage.py", "migrate", "--verbosity", "0")
    return host


def environment(broker_url: str, result_url: str, market_url: str) -> dict[str, str]:
    """Return this process' environment, with the host's settings and without other settings."""
    ours = {
        name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "DJANGO_", "DATABASE"))
    }
    return {
        **ours,
        "HOST_BROKER_URL": broker_url,
        "HOST_RESULT_BACKEND": result_url,
        "MARKET_URL": market_url,
        "PYTHONUNBUFFERED": "1",
    }

"""Priorities on a real RabbitMQ, where one is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tasks_host import Host, install, wait_until
from tasks_market import Market

from migrator.servers import EmbeddedServer, free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(170)]

MISSING = "NOT TESTED ON RABBITMQ: no server found; install it (Debian: apt-get install rabbitmq-server) and run again"


@pytest.fixture(scope="module")
def rabbit_url() -> Iterator[str]:
    """A node of our own: its own name, ports and folders; ended by pid."""
    server = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not server.exists():
        found = shutil.which("rabbitmq-server")
        if found is None:
            pytest.skip(MISSING)
        server = Path(found)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rabbit-") as name:
        folder = Path(name)
        environ = {
            "PATH": os.environ["PATH"], "HOME": name, "RABBITMQ_NODENAME": f"tasks{port}@localhost",
            "RABBITMQ_NODE_PORT": str(port), "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": name, "RABBITMQ_LOG_BASE": name, "RABBITMQ_ENABLED_PLUGINS_FILE": f"{name}/plugins",
            "RABBITMQ_PID_FILE": f"{name}/pid", "RABBITMQ_CONFIG_FILE": f"{name}/none", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        with (folder / "out.log").open("wb") as log:
            # Started here, or the server would leave one behind.
            mapper = subprocess.Popen(
                ["epmd", "-port", environ["ERL_EPMD_PORT"], "-address", "127.0.0.1"], stdout=log, stderr=log
            )
            process = subprocess.Popen(
                [server], env=environ, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            log_text = (folder / "out.log").read_text
            wait_until(lambda: "completed with" in log_text(errors="replace"), "RabbitMQ", timeout=60, log=log_text)
            yield f"amqp://guest:guest@127.0.0.1:{port}//"
        finally:
            for started in (process, mapper):
                started.terminate()
                started.wait(30)


@pytest.fixture
def rabbit_host(tmp_path: Path, rabbit_url: str, redis_server: EmbeddedServer, market: Market) -> Host:
    return install(tmp_path / "src", broker_url=rabbit_url, result_url=redis_server.url(1), market_url=market.url)


def test_high_runs_first(rabbit_host: Host, market: Market) -> None:
    """The same calls as on Redis, the same order, other numbers; and unknown tasks are kept there as well."""
    market.delays_s["SLOW"] = 60
    with rabbit_host.worker("--pool=solo", "--concurrency=1") as worker:
        rabbit_host.python("u.fetch_yahoo_stocks.delay(symbols=['SLOW'])")
        wait_until(lambda: market.requests == ["yahoo/SLOW"], "the blocking call", log=worker.text)
        rabbit_host.python(
            "from tasks.celery import app\n"
            "u.cleanup_old_data.apply_async(task_id='low')\n"
            "u.calculate_indicators.apply_async(args=[['A']], task_id='medium')\n"
            "u.fetch_alpha_stocks.apply_async(args=[['H1']], task_id='high')\n"
            "app.send_task('tasks.gone', [1], task_id='unknown')\n"
        )
        market.delays_s.clear()
        worker.wait_for("succeeded", times=4)
        wait_until(lambda: len(rabbit_host.failures()) == 1, "the dead letter", log=worker.text)
    order = re.findall(r"\[([\w-]+)\] succeeded", worker.text())[1:]
    assert order == ["high", "medium", "low"]
    (row,) = rabbit_host.failures()
    assert (row["task_name"], row["task_id"], row["args"]) == ("tasks.gone", "unknown", "[1]")

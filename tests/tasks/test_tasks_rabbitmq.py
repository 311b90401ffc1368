"""Priorities on a real RabbitMQ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rabbit_server import RabbitServer
from tasks_host import Host, install, wait_until
from tasks_market import Market

from migrator.embedded_redis import EmbeddedServer

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(170), pytest.mark.xdist_group("rabbitmq-runs")]


@pytest.fixture
def rabbit_host(tmp_path: Path, rabbit: RabbitServer, redis_server: EmbeddedServer, market: Market) -> Host:
    return install(tmp_path / "src", broker_url=rabbit.url(), result_url=redis_server.url(1), market_url=market.url)


def test_high_runs_first(rabbit_host: Host, market: Market) -> None:
    """The same calls and order as on Redis, with other numbers; unknown tasks become dead letters as well."""
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

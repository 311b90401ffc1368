"""A real Dramatiq worker on a RabbitMQ of the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rabbit_scene import RabbitScene
from waiting import wait_until

pytestmark = pytest.mark.timeout(120)

DRAMATIQ_WORKER = """
import dramatiq, os, signal, sys, time
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage
broker = RabbitmqBroker(url=os.environ["BROKER"])
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)
@dramatiq.actor(max_retries=0)
def health_check_task():
    message = CurrentMessage.get_current_message()
    print("ran", message.message_id, message.options.get("retries", 0), time.time(), flush=True)
@dramatiq.actor(max_retries=0)
def fetch_news_task():
    raise RuntimeError("no news")
worker = dramatiq.Worker(broker, worker_threads=2)
worker.start()
def stop(*_):
    worker.stop()
    broker.close()
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("started", flush=True)
time.sleep(120)
"""


@contextmanager
def dramatiq_worker(scene: RabbitScene, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A real Dramatiq worker, killed at the end unless it was told to stop before."""
    script = folder / "worker.py"
    script.write_text(DRAMATIQ_WORKER)
    log = (folder / "worker.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, script], env={"BROKER": scene.urls["dramatiq"], "PATH": ""}, stdout=log, stderr=log
    )
    try:
        until(lambda: "started" in (folder / "worker.log").read_text())
        yield process
    finally:
        process.kill()
        process.wait(10)
        log.close()


def until(check: Any, timeout_s: float = 60) -> Any:
    """Wait until ``check`` gives something."""
    return wait_until(check, timeout_s=timeout_s, pause_s=0.1)

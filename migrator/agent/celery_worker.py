"""Celery's own worker with an agent in it: ``celery -A … worker`` as the plan says, one message at a time.

The agent wraps each task's ``Strategy``, the function to which the consumer hands a message of that task: the message
of the case passes, every other one (messages that the task sent, its retry) is acknowledged and dropped.
Source: ``celery/worker/consumer/consumer.py`` (update_strategies, create_task_handler), ``celery/app/task.py``
(Strategy), ``celery/concurrency/solo.py``: the task has run when the strategy returns, unless it is rate limited.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import signals
from celery.app.task import Task
from celery.worker.strategy import default

from .celery_run import TaskListener
from .recorder import RECORDER
from .scratch_broker import use_for_celery
from .seeding import seed_randomness
from .worker_protocol import Hook

logger = logging.getLogger("celery.worker.parity")


class TaskAgent(TaskListener):
    """Let one message through and record how it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = threading.Event()
        self.expected, self.seed, self.broken = "", 0, ""
        self.started_at = self.finished_at = 0.0
        self.inside = self.has_run = False
        self.consumer: Any = None
        signals.task_postrun.connect(self._has_run, weak=False)
        signals.task_revoked.connect(self._revoked, weak=False)
        signals.task_unknown.connect(self._unknown, weak=False)

    def expect(self, message_id: str, seed: int) -> None:
        """Let the next message of this id through, once."""
        self.finished.clear()
        self.broken, self.started_at, self.has_run = "", 0.0, False
        self.current, self.seed, self.expected = "", seed, message_id

    def queues(self) -> list[str]:
        """Return the queues that the consumer reads."""
        return [queue.name for queue in self.consumer.task_consumer.queues] if self.consumer else []

    def finish_background_work(self) -> None:
        """Do nothing: in the solo pool nothing of a task outlives it."""

    def strategy(self, task: Any, app: Any, consumer: Any, **options: Any) -> Any:
        """Return what the consumer calls with each message of a task."""
        self.consumer = consumer
        handle = default(task, app, consumer, **options)

        def handle_one(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
            if message.headers.get("id") != self.expected:
                ack(logger, consumer.connection_errors)
                return None
            self._enter()
            try:
                return handle(message, body, ack, reject, callbacks, **more)
            finally:
                self.inside = False
                if self.has_run:
                    self._finish()

        return handle_one

    def _enter(self) -> None:
        self.inside, self.started_at = True, time.monotonic()
        seed_randomness(self.seed)
        self.begin(self.expected)
        self.expected = ""

    def _finish(self) -> None:
        self.finished_at = time.monotonic()
        self.finished.set()

    def _has_run(self, task_id: str, **_: Any) -> None:
        if task_id == self.current:
            self.has_run = True
            if not self.inside:
                self._finish()

    def _revoked(self, request: Any, **_: Any) -> None:
        if request.id == self.current:
            self._finish()

    def _unknown(self, name: str, id: str, **_: Any) -> None:
        if id == self.expected:
            self.broken = f"the worker doesn't know a task {name!r}: no module that it imports registers it"
            RECORDER.stop()
            self._finish()


def run(pipe: Any, arguments: Sequence[str]) -> None:
    """Run Celery's command line in this process."""
    hook, agent = Hook(pipe), TaskAgent()
    Task.Strategy = agent.strategy
    port = hook.session.configuration["redis_port"]
    signals.celeryd_init.connect(lambda instance, **_: use_for_celery(instance.app, port), weak=False)
    signals.worker_ready.connect(lambda **_: hook.serve(agent), weak=False)
    sys.argv = ["celery", *arguments]
    from celery.__main__ import main

    main()

"""Dramatiq's own worker with an agent in it: the command line as the plan says, with one process.

Dramatiq's main process forks its worker, which imports ``broker`` from this module: that sets the project up in the
right process, imports the plan's broker as Dramatiq would, and adds two middlewares. The first lets the message of the
case pass and skips every other one (messages that the actor sent, its retry); the last records how it ends.
Source: ``dramatiq/cli.py`` (worker_process, import_broker), ``dramatiq/worker.py`` (process_message).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import dramatiq
from dramatiq.errors import ActorNotFound
from dramatiq.middleware import SkipMessage

from .dramatiq_run import ActorListener, attend, finish_coroutines
from .scratch_broker import use_for_dramatiq
from .seeding import seed_randomness
from .start import ParentPipe
from .worker_protocol import Hook

#: Passes the pipe and the plan's broker to the forked process: the numbers of its ends, and the broker.
VARIABLE = "PARITY_WORKER"


class ActorAgent(ActorListener):
    """Record how one message ends."""

    in_worker = True

    def __init__(self) -> None:
        super().__init__()
        self.finished = threading.Event()
        self.expected, self.broken = "", ""
        self.started_at = self.finished_at = 0.0
        self.worker: Any = None
        self.hook: Any = None

    def expect(self, message_id: str, seed: int) -> None:
        """Let the next message of this id through, once."""
        self.finished.clear()
        self.broken, self.started_at = "", 0.0
        self.current, self.seed, self.expected = "", seed, message_id

    def queues(self) -> list[str]:
        """Return the queues that the worker reads."""
        return list(self.worker.consumers) if self.worker else []

    def finish_background_work(self) -> None:
        """Let coroutines that the actor left running finish."""
        finish_coroutines()

    def enter(self) -> None:
        """Begin to record: the worker has received the message."""
        self.started_at = time.monotonic()
        seed_randomness(self.seed)
        self.begin(self.expected, self.seed)
        self.expected = ""

    def after_worker_boot(self, broker: Any, worker: Any) -> None:
        self.worker = worker
        self.hook.serve(self)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        super().after_process_message(broker, message, result=result, exception=exception)
        if message.message_id == self.current and isinstance(exception, ActorNotFound):
            self.broken = (
                f"the worker doesn't know an actor {message.actor_name!r}: no module that it imports defines it"
            )

    def after_ack(self, broker: Any, message: Any) -> None:
        self._finish(message)

    def after_nack(self, broker: Any, message: Any) -> None:
        super().after_nack(broker, message)
        self._finish(message)

    def _finish(self, message: Any) -> None:
        if message.message_id == self.current:
            self.finished_at = time.monotonic()
            self.finished.set()


class Gate(dramatiq.Middleware):  # type: ignore[misc]  # Dramatiq has no type information here
    """The first middleware: skips every message but that of the case."""

    def __init__(self, agent: ActorAgent) -> None:
        self.agent = agent

    def before_process_message(self, broker: Any, message: Any) -> None:
        if message.message_id != self.agent.expected:
            raise SkipMessage("not the message of this case")
        self.agent.enter()


def run(pipe: Any, arguments: Sequence[str]) -> None:
    """Run Dramatiq's command line; its worker process imports :data:`broker` from here."""
    from dramatiq.cli import main, make_argument_parser

    options = make_argument_parser().parse_args(list(arguments))
    os.environ[VARIABLE] = f"{pipe.requests.fileno()} {pipe.replies.fileno()} {options.broker}"
    options.broker = f"{__name__}:broker"
    raise SystemExit(main(options))


def __getattr__(name: str) -> Any:
    """Return the project's broker with the agent attached, when Dramatiq's worker process imports it."""
    if name != "broker":
        raise AttributeError(name)
    from dramatiq.cli import import_broker

    requests, replies, path = os.environ[VARIABLE].split(" ", 2)
    agent = ActorAgent()
    agent.hook = Hook(ParentPipe(os.fdopen(int(requests), "rb"), os.fdopen(int(replies), "wb")))
    _, broker = import_broker(path)
    broker = use_for_dramatiq(broker, agent.hook.session.configuration["redis_port"])
    first = type(broker.middleware[0]) if broker.middleware else None
    broker.add_middleware(Gate(agent), **({"before": first} if first else {}))
    attend(broker, agent)
    return broker

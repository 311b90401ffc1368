"""Run an actor as a worker does: encoded, fetched from the broker, through every middleware, acknowledged.

Nothing of Dramatiq is replaced: its own ``WorkerThread.process_message`` runs in this thread, so that a run is over
when the call returns. Retries and dead letters are what the project's middleware decides.
Source: ``dramatiq/worker.py`` (ConsumerThread.handle_message, WorkerThread.process_message) and
``dramatiq/broker.py`` (after_enqueue, after_nack).
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import dramatiq
from dramatiq import worker
from dramatiq.middleware import Retries

from .recorder import RECORDER
from .seeding import seed_randomness

# Dramatiq 1.x has them as its own only.
ConsumerThread: Any = getattr(worker, "ConsumerThread", None) or worker._ConsumerThread
WorkerThread: Any = getattr(worker, "WorkerThread", None) or worker._WorkerThread
FETCH_TIMEOUT_S = 5.0
#: How long coroutines that an actor left running may go on.
COROUTINE_TIMEOUT_S = 2.0


class InlineDramatiqWorker:
    """The project's broker with a worker that never starts threads of its own."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.listener = ActorListener()
        attend(broker, self.listener)
        self.worker = worker.Worker(broker, worker_threads=1)
        broker.emit_after("process_boot")
        broker.emit_before("worker_boot", self.worker)
        broker.emit_after("worker_boot", self.worker)

    def run(self, actor: Any, call: Mapping[str, Any]) -> dict[str, Any]:
        """Send one message, process it, and return how it ended."""
        queue = send(actor, call)
        self.listener.begin(call["id"], call["seed"])
        consumer = ConsumerThread(
            broker=self.broker,
            queue_name=queue,
            prefetch=1,
            work_queue=self.worker.work_queue,
            worker_timeout=50,
        )
        consumer.consumer = self.broker.consume(queue_name=queue, prefetch=1, timeout=50)
        consumers = {queue: consumer}
        thread = WorkerThread(
            broker=self.broker, consumers=consumers, work_queue=self.worker.work_queue, worker_timeout=50
        )
        try:
            consumer.handle_message(_fetch(consumer.consumer))
            item = self.worker.work_queue.get(timeout=FETCH_TIMEOUT_S)
            # A tuple of priority and message in 1.x.
            thread.process_message(item[1] if isinstance(item, tuple) else item.message)
        finally:
            consumer.consumer.close()
            self.listener.current = ""
            finish_coroutines()
        return self.listener.ended


class ActorListener(dramatiq.Middleware):  # type: ignore[misc]  # Dramatiq has no type information here
    """Record how a message ends and what else is enqueued."""

    in_worker = False

    def __init__(self) -> None:
        self.current, self.seed = "", 0
        self.ended: dict[str, Any] = {}

    def begin(self, message_id: str, seed: int) -> None:
        """Drop what was recorded, and record one message."""
        self.current, self.seed, self.ended = message_id, seed, {"outcome": "lost"}
        if "celery" in sys.modules:
            # What actors send to tasks of Celery.
            importlib.import_module(".celery_run", __package__).record_sent()
        RECORDER.start()

    def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        # A worker's own consumers enqueue delayed messages that are due; that is no effect of a task.
        if not self.current or (self.in_worker and isinstance(threading.current_thread(), ConsumerThread)):
            return
        if message.message_id == self.current:
            self.ended["outcome"] = "retry"
            self.ended["retry"] = _call(broker, message, delay)
            return
        note_sent(broker, message, delay)

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if message.message_id != self.current:
            return
        if exception is None:
            self.ended = {**self.ended, "outcome": "value", "value": result}
        else:
            self.ended = {**self.ended, "outcome": "exception", "exception": exception}

    def after_skip_message(self, broker: Any, message: Any) -> None:
        if message.message_id == self.current:
            self.ended["outcome"] = "skipped"

    def after_nack(self, broker: Any, message: Any) -> None:
        if message.message_id == self.current:
            entry = {"system": "dramatiq", "task": message.actor_name, "args": list(message.args)}
            RECORDER.note("dead_letters", entry | {"kwargs": dict(message.kwargs)})


def note_sent(broker: Any, message: Any, delay: int | None) -> None:
    """Record one message of an actor."""
    queue = dramatiq.common.q_name(message.queue_name)
    entry = {"system": "dramatiq", "task": message.actor_name, "queue": queue, **_call(broker, message, delay)}
    RECORDER.note("messages", entry | {"priority": broker.get_actor(message.actor_name).priority})


def _call(broker: Any, message: Any, delay: int | None) -> dict[str, Any]:
    delay_s = None if delay is None else delay / 1000
    call = {"delay_s": delay_s, "args": list(message.args), "kwargs": dict(message.kwargs)}
    # An age limit of its own, as Celery's header says it; one of the middleware holds for every message alike.
    max_age = message.options.get("max_age") or broker.get_actor(message.actor_name).options.get("max_age")
    return {**call, "expires_s": max_age / 1000} if max_age else call


class SentMessages(dramatiq.Middleware):  # type: ignore[misc]  # as above
    """Record what is sent to actors by something that is none."""

    def after_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:
        note_sent(broker, message, delay)


def record_sent() -> None:
    """Record what is sent through the project's broker; repeatable. A project without one gets none by it."""
    broker = dramatiq.broker.global_broker
    if broker is not None and not any(isinstance(item, SentMessages) for item in broker.middleware):
        broker.add_middleware(SentMessages())


class SeedBeforeRetries(dramatiq.Middleware):  # type: ignore[misc]  # as above
    """Seed right before Retries, so that its jitter is the same however often others drew a random number."""

    def __init__(self, listener: ActorListener) -> None:
        self.listener = listener

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        if message.message_id == self.listener.current:
            seed_randomness(self.listener.seed)


def attend(broker: Any, listener: ActorListener) -> None:
    """Add the listener to a broker's middleware."""
    if any(type(item) is Retries for item in broker.middleware):
        broker.add_middleware(SeedBeforeRetries(listener), after=Retries)
    broker.add_middleware(listener)


def send(target: Any, call: Mapping[str, Any]) -> str:
    """Send one message and return the queue that it went to."""
    options = {"retries": call["attempts"]} if call["attempts"] else {}
    message = target.message_with_options(args=tuple(call["args"]), kwargs=dict(call["kwargs"]), **options)
    message = message.copy(message_id=call["id"])
    target.broker.enqueue(message)
    return str(message.queue_name)


def finish_coroutines() -> None:
    """Let what the actor left running in the event loop finish, or cancel it: it belongs to this run only."""
    from dramatiq.asyncio import get_event_loop_thread

    thread = get_event_loop_thread()
    if thread is None or not thread.loop.is_running():
        return

    async def finish() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, late = await asyncio.wait(others, timeout=COROUTINE_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(finish(), thread.loop).result(timeout=2 * COROUTINE_TIMEOUT_S)


def _fetch(consumer: Any) -> Any:
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    while time.monotonic() < deadline:
        message = next(consumer)
        if message is not None:
            return message
    raise TimeoutError(f"the message was not delivered by the broker within {FETCH_TIMEOUT_S:g} s")

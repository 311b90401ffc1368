"""Keep the message copies of a rehearsal from being run, while everything else happens as in the real run.

Copies are put into the queues when the legacy workers are gone. While they are in a unified queue, no unified worker
consumes. Before one consumes again, they are set aside: renamed on Redis, moved to a queue of ours on RabbitMQ. They
are restored for the rollback, when no worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.rabbitmq.move_queue import carry_all
from migrator.brokers.rabbitmq.queues import ASIDE as ASIDE_QUEUE
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.redis.heartbeats import connection
from migrator.brokers.redis.keys import PARKED, celery_lists, quarantine_key, sources
from migrator.events import Event, EventKind, Listener
from migrator.plan.model import Plan
from migrator.plan.placeholders import endpoint_url
from migrator.plan.processes import Role
from migrator.snapshots import rabbitmq
from migrator.snapshots.snapshot import restore_snapshot
from migrator.steps.transfer import MOVE_BACK
from migrator.wire.message import Side
from migrator.workers import drain
from migrator.workers.start_stop import start_side, stop_side

#: Prefix of the copies' keys while unified workers consume, on the scratch Redis.
ASIDE = "rehearsal-aside:"


@dataclass(slots=True, kw_only=True)
class CopyRun:
    """The scratch system, and what keeps copies from being run in it."""

    plan: Plan
    environ: Mapping[str, str]
    #: The copies; None if there are none.
    snapshot: Path | None
    listener: Listener
    #: Seconds spent on the copies; they are no part of the downtime.
    overhead_s: float = 0.0
    consumers_cancelled: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def listen(self, event: Event) -> None:
        """Pass an event on, and between two steps do what keeps copies from being run."""
        self.listener(event)
        began = time.monotonic()
        if event.kind is EventKind.STEP_FINISHED and event.step == "stop_workers":
            workers = self.plan.select(side=Side.UNIFIED, role=Role.WORKER)
            self.consumers_cancelled = {
                worker.name: drain.cancel_consumers(self.plan, worker, environ=self.environ) for worker in workers
            }
            if self.snapshot is not None:
                restore_snapshot(self.plan, environ=self.environ, file=self.snapshot, replace=True)
            self.overhead_s += time.monotonic() - began
        elif event.kind is EventKind.STEP_FINISHED and event.step == "transfer":
            self._set_aside()
        elif event.kind is EventKind.ACTION and event.done == 0 and event.text == MOVE_BACK:
            stop_side(self.plan, Side.LEGACY, environ=self.environ)
            self._restore()
            self.overhead_s += time.monotonic() - began
        elif event.kind is EventKind.STEP_UNDONE and event.step == "transfer":
            _empty(self.plan, self.environ)
            start_side(self.plan, Side.LEGACY, environ=self.environ)

    def end(self) -> None:
        """Stop every process."""
        for side in Side:
            stop_side(self.plan, side, environ=self.environ)

    def _set_aside(self) -> None:
        """Set the copies aside, and let the unified workers consume again."""
        _move(self.plan, self.environ, aside=True)
        for worker in self.plan.select(side=Side.UNIFIED, role=Role.WORKER):
            drain.resume(self.plan, worker, self.consumers_cancelled[worker.name], environ=self.environ)

    def _restore(self) -> None:
        """Restore the copies for the transfer; no worker runs now."""
        _move(self.plan, self.environ, aside=False)


def _move(plan: Plan, environ: Mapping[str, str], *, aside: bool) -> None:
    if is_on_rabbitmq(plan.unified, environ):
        server = RabbitmqServer(endpoint_url(plan.unified, environ))
        for queue in plan.unified.queues:
            source, target = (queue, ASIDE_QUEUE + queue) if aside else (ASIDE_QUEUE + queue, queue)
            carry_all(server, source, target, declare=aside)
        return
    with connection(plan.unified, environ) as client:
        for name in _unified_keys(plan):
            source, target = (name, ASIDE + name) if aside else (ASIDE + name, name)
            if client is not None and client.exists(source):
                client.rename(source, target)


def _unified_keys(plan: Plan) -> tuple[str, ...]:
    return (*(name for queue in plan.unified.queues for name in celery_lists(plan.unified, queue)), PARKED)


def _empty(plan: Plan, environ: Mapping[str, str]) -> None:
    """Delete the copies from the scratch brokers' legacy queues, by name."""
    for endpoint in plan.legacy:
        if is_on_rabbitmq(endpoint, environ):
            with closing(connect(endpoint, environ)) as broker:
                rabbitmq.make_room(broker)
            continue
        with connection(endpoint, environ) as client:
            if client is not None:
                names = [name for source in sources(endpoint) for name in (source.list, source.bodies) if name]
                client.unlink(quarantine_key(endpoint), *names)

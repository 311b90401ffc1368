"""What brokers know of the workers of a process that runs elsewhere: who lives, and what is claimed.

Celery: node names that answer, whose queues are those of the side; on Redis also who listens and doesn't answer.
Dramatiq on Redis: broker ids whose heartbeats move. A producer sends heartbeats too, but claims nothing: an id without
claims is a worker only while nothing waits that it would take. RabbitMQ: how many consume each queue.

Source: dramatiq/brokers/redis/dispatch.lua (every command writes a heartbeat; `fetch` is one each second).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.control_listeners import listeners
from migrator.brokers.redis import heartbeats
from migrator.plan.model import Endpoint, Plan
from migrator.plan.processes import Process
from migrator.wire.message import Side, State, System
from migrator.workers import celery_control

_LOOK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What was seen."""

    #: Node names, broker ids, or words for consumers that have no name.
    living: tuple[str, ...] = ()
    #: What each node registers.
    registered: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Nodes that lived before and don't answer, while somebody listens and doesn't answer, as one does that is busy.
    silent: tuple[str, ...] = ()
    claimed: int = 0
    #: Dramatiq on Redis: the last heartbeat of every id.
    beats: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is known from earlier."""

    #: Who lived when it was looked last.
    living: tuple[str, ...] = ()
    #: Heartbeats then, and when that was, in seconds since the epoch.
    beats: Mapping[str, float] = field(default_factory=dict)
    looked_at: float = 0.0
    #: Node names of the plan's other processes.
    others: frozenset[str] = frozenset()


def endpoint_of(plan: Plan, process: Process) -> Endpoint | None:
    """Return the endpoint whose queues a worker consumes."""
    if process.side is Side.UNIFIED:
        return plan.unified
    return plan.endpoint(process.system) if process.system else None


def look(plan: Plan, process: Process, *, environ: Mapping[str, str], before: Before, wanted: int = 1) -> Signs:
    """Return who of a worker process lives.

    Args:
        wanted: Heartbeats are watched until so many have moved, at most for the time of silence.

    Raises:
        UnreachableError: The broker does not answer.
    """
    endpoint = endpoint_of(plan, process)
    if endpoint is None:
        return Signs()
    if endpoint.system is System.CELERY:
        return _celery(plan, process, endpoint, environ, before)
    if is_on_rabbitmq(endpoint, environ):
        return _consumers(endpoint, environ)
    return _dramatiq(endpoint, environ, before, wanted)


def _celery(plan: Plan, process: Process, endpoint: Endpoint, environ: Mapping[str, str], before: Before) -> Signs:
    with celery_control.control(endpoint, environ) as app:
        queues = celery_control.ask_all(app, "active_queues")
        consumed = {node: {str(queue["name"]) for queue in answer} for node, answer in queues.items()}
        own = {node: read for node, read in consumed.items() if node not in before.others}
        mine = tuple(sorted(node for node in own if _is_mine(plan, process, node, own[node], before)))
        registered = celery_control.ask_all(app, "registered") if mine else {}
    names = {node: frozenset(str(name).split(" ", 1)[0] for name in registered.get(node) or ()) for node in mine}
    silent = tuple(node for node in before.living if node not in queues)
    if silent and listeners(endpoint, environ) <= len(queues):
        silent = ()
    return Signs(living=mine + silent, registered=names, silent=silent, claimed=_claimed(endpoint, environ))


def _is_mine(plan: Plan, process: Process, node: str, queues: set[str], before: Before) -> bool:
    if process.elsewhere.nodes:
        return fnmatchcase(node, process.elsewhere.nodes)
    # A drained worker consumes nothing any more: it is known from before.
    if not queues:
        return node in before.living
    endpoint = endpoint_of(plan, process)
    unified = bool(queues & set(plan.unified.queues))
    if process.side is Side.UNIFIED or endpoint is None:
        return unified
    return bool(queues & set(endpoint.queues)) and not unified


def _claimed(endpoint: Endpoint, environ: Mapping[str, str]) -> int:
    with closing(connect(endpoint, environ)) as broker:
        return sum(count for (_, state), count in broker.depths().items() if state is State.CLAIMED)


def _consumers(endpoint: Endpoint, environ: Mapping[str, str]) -> Signs:
    with closing(connect(endpoint, environ)) as broker:
        owners = broker.owners()
    most = max((owner.consumers for owner in owners), default=0)
    living = tuple(f"consumer {number + 1}" for number in range(most))
    return Signs(living=living, claimed=sum(owner.claimed for owner in owners))


def _dramatiq(endpoint: Endpoint, environ: Mapping[str, str], before: Before, wanted: int) -> Signs:
    first = heartbeats.last_heartbeats(endpoint, environ)
    if before.beats == first and time.time() - before.looked_at > heartbeats.SILENCE_S:
        return Signs(claimed=sum(heartbeats.claimed(endpoint, environ).values()), beats=first)
    moved, beats, waits = set[str](), first, True
    end = time.monotonic() + heartbeats.SILENCE_S
    while len(moved) < wanted and time.monotonic() < end:
        time.sleep(_LOOK_S)
        beats = heartbeats.last_heartbeats(endpoint, environ)
        waits = waits and _waits(endpoint, environ)
        holders = heartbeats.claimed(endpoint, environ)
        moving = {owner for owner, beat in beats.items() if first.get(owner) != beat}
        moved |= moving & set(holders) if waits else moving
    return Signs(living=tuple(sorted(moved)), claimed=sum(heartbeats.claimed(endpoint, environ).values()), beats=beats)


def _waits(endpoint: Endpoint, environ: Mapping[str, str]) -> bool:
    """True if messages wait that a living worker would have taken."""
    with closing(connect(endpoint, environ)) as broker:
        return any(count for (_, state), count in broker.depths().items() if state is State.READY)

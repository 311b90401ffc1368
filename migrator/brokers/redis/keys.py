"""Names of the keys: those of the two systems, and our own, which all begin with ``tqm:``.

Our keys on a server: ``tqm:lock`` (the lock), ``tqm:runs`` (how many runs have had it),
``tqm:steps`` (how many steps of ours the server has done), ``tqm:claim:…`` (claimed, not
yet moved), ``tqm:passed:…`` (filtered out), ``tqm:kept:<side>:<system>`` (quarantined, with the reason),
``tqm:ledger`` (what has arrived from another server), ``tqm:parked`` (ETA later than the visibility timeout),
``tqm:run:<plan>`` (whose run it is, and who is at it),
``tqm:alias:…`` (the legacy aliases, :mod:`migrator.workers.legacy_aliases`).

Source: dramatiq/brokers/redis/dispatch.lua; kombu/transport/redis.py (``_q_for_pri``, ``priority``).
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass

from migrator.plan.model import Endpoint
from migrator.wire.message import System
from migrator.wire.queue_address import QueueAddress

LOCK = "tqm:lock"
RUNS = "tqm:runs"
STEPS = "tqm:steps"
LEDGER = "tqm:ledger"
PARKED = "tqm:parked"
#: What kombu puts between the parts of a name unless its option ``sep`` says otherwise.
SEPARATOR = "\x06\x16"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisQueue:
    """One list from which messages are taken, with its hash of bodies (Dramatiq) and our keys for it."""

    address: QueueAddress
    #: The list: ids (Dramatiq) or messages (Celery).
    list: str
    #: Dramatiq's hash of bodies; empty for Celery.
    bodies: str
    claim: str
    filtered_out: str


def run_key(plan_name: str) -> str:
    """Return the hash with the record of a plan's run."""
    return f"tqm:run:{plan_name}"


def dramatiq_list(endpoint: Endpoint, wire_queue: str) -> str:
    """Return the list of a Dramatiq queue; its bodies are under the same name with ``.msgs``."""
    return f"{endpoint.namespace}:{wire_queue}"


def celery_list(endpoint: Endpoint, queue: str, priority: int | None) -> str:
    """Return the list in which kombu keeps messages of this priority."""
    steps = endpoint.priority_steps
    step = steps[max(bisect(steps, priority or 0) - 1, 0)]
    name = f"{endpoint.key_prefix}{queue}"
    return f"{name}{endpoint.priority_separator}{step}" if step else name


def celery_lists(endpoint: Endpoint, queue: str) -> tuple[str, ...]:
    """Return all lists of a Celery queue, in the order of service."""
    return tuple(dict.fromkeys(celery_list(endpoint, queue, step) for step in sorted(endpoint.priority_steps)))


def unacked_keys(endpoint: Endpoint) -> tuple[str, str]:
    """Return the hash of messages that Celery's workers have taken, and the sorted set of their times."""
    return f"{endpoint.key_prefix}unacked", f"{endpoint.key_prefix}unacked_index"


def quarantine_key(endpoint: Endpoint) -> str:
    """Return the hash of messages quarantined on this endpoint."""
    return f"tqm:kept:{endpoint.side.value}:{endpoint.system.value}"


def sources(endpoint: Endpoint) -> tuple[RedisQueue, ...]:
    """Return every Redis queue of an endpoint, in the order in which they are emptied."""
    found: list[RedisQueue] = []
    for queue in endpoint.queues:
        if endpoint.system is System.DRAMATIQ:
            for delayed in (False, True):
                address = QueueAddress(endpoint.side, endpoint.system, queue, delayed)
                name = dramatiq_list(endpoint, address.wire_queue)
                found.append(_redis_queue(address, name, f"{name}.msgs"))
        else:
            address = QueueAddress(endpoint.side, endpoint.system, queue)
            found.extend(_redis_queue(address, name, "") for name in celery_lists(endpoint, queue))
    return tuple(found)


def _redis_queue(address: QueueAddress, name: str, bodies: str) -> RedisQueue:
    kind = address.system.value
    return RedisQueue(
        address=address,
        list=name,
        bodies=bodies,
        claim=f"tqm:claim:{kind}:{name}",
        filtered_out=f"tqm:passed:{kind}:{name}",
    )

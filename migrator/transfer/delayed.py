"""Messages whose ETA is further away than Celery on Redis can wait: parked, and released in time.

A worker holds a message with an ETA unacknowledged until it is due, and after the visibility timeout Redis delivers it
to the next worker: it would run several times. So a message that is due later than half of that timeout goes into the
sorted set ``tqm:parked``, and from there into its queue when a quarter of the timeout is left. Workers with the boot
step of ``tasks/parked.py`` do that; so does every transfer. Where no worker does (:mod:`migrator.workers.probe`
asks the project), nothing is parked.

Source: kombu/transport/redis.py (``restore_visible``); observed: timeout 3 s, ETA 12 s, one worker, four runs.
"""

from __future__ import annotations

import math

import msgspec

from migrator.brokers.redis.keys import PARKED, celery_list
from migrator.brokers.redis.server import RedisServer
from migrator.plan.model import Endpoint, Plan
from migrator.translation.result import Translated, Translation, Translator
from migrator.wire.json_codec import iso_from_ms
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress

_PAGE = 200
_RELEASE_AT = 0.25
_PARK_FROM = 0.5


class _DeliveryTag(msgspec.Struct):
    priority: int | None = None


class _Prioritized(msgspec.Struct):
    properties: _DeliveryTag


def park_after_ms(plan: Plan, now_ms: float) -> float:
    """Return the latest ETA, in ms since the epoch, with which a message goes straight into the queue."""
    return now_ms + plan.unified.visibility_timeout_s * _PARK_FROM * 1000


def release_lead_ms(plan: Plan) -> float:
    """Return how long before its ETA a parked message goes into its queue."""
    return plan.unified.visibility_timeout_s * _RELEASE_AT * 1000


def quarantine_late(plan: Plan, translate: Translator, *, now_ms: int) -> Translator:
    """Return a translation that quarantines what is due after the visibility timeout, where nothing is ever released.

    In the queue such a message would run several times, parked it would never run.
    """
    limit_ms = now_ms + int(plan.unified.visibility_timeout_s * 1000)
    timeout = f"the visibility timeout of {plan.unified.visibility_timeout_s:g} s"

    def checked(address: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        found = translate(address, copy_id, raw)
        if type(found) is Translated and found.eta_ms is not None and found.eta_ms > limit_ms:
            detail = f"due at {iso_from_ms(found.eta_ms)}, after {timeout}: it would run several times"
            return Quarantined(QuarantineReason.DUE_LATE, detail, found.source_task, found.id)
        return found

    return checked


def release_parked(server: RedisServer, endpoint: Endpoint, until_ms: float) -> int:
    """Put parked messages that are due soon into the unified queue; return how many.

    Args:
        server: The server that holds the unified queue.
        endpoint: The unified endpoint.
        until_ms: The latest release time, in ms since the epoch.
    """
    until = "+inf" if until_ms == math.inf else int(until_ms)
    released = 0
    while page := server.client.zrangebyscore(PARKED, "-inf", until, start=0, num=_PAGE):
        lists: list[str] = []
        arguments: list[bytes | int] = []
        for message in page:
            name = celery_list(endpoint, endpoint.queues[0], _priority(message))
            if name not in lists:
                lists.append(name)
            arguments += [message, lists.index(name) + 1]
        released += server.run("release", [PARKED, *lists], arguments)
    return released


def _priority(message: bytes) -> int:
    try:
        return msgspec.json.decode(message, type=_Prioritized).properties.priority or 0
    except (msgspec.MsgspecError, RecursionError):
        return 0

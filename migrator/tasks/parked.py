"""Messages that are due too late for Celery on Redis wait beside the queue; the workers release them in time.

A worker holds a message with an ETA unacknowledged until it is due, and Redis gives it to another worker after the
visibility timeout, so it would run several times. The migration therefore parks messages that are due late in the
sorted set `tqm:parked`, scored by the time (ms since the epoch) at which they may go into the queue.
Source: kombu/transport/redis.py (`restore_visible`, `_q_for_pri`).
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from celery import bootsteps

logger = logging.getLogger(__name__)

PARKED = "tqm:parked"
MOST_AT_ONCE = 200

#: Several workers may try at once: only the one that removes a message from the set puts it into the queue.
_RELEASE = """
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('LPUSH', KEYS[2], ARGV[1])
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
"""


class ReleaseParked(bootsteps.StartStopStep):
    """Releases parked messages as long as the worker runs; does nothing on brokers other than Redis."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.timer: Any = None

    def start(self, parent: Any) -> None:
        """Release what is due, now and periodically."""
        timeout_s = (parent.app.conf.broker_transport_options or {}).get("visibility_timeout", 3600)
        self.release(parent)
        self.timer = parent.timer.call_repeatedly(min(30.0, timeout_s / 16), self.release, (parent,))

    def stop(self, parent: Any) -> None:
        """Cancel the timer."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def release(self, parent: Any) -> int:
        """Release what is due soon; return how many. After a lost connection it is tried again the next time."""
        try:
            with parent.app.connection_for_write() as connection:
                channel = connection.default_channel
                return release_parked(channel) if hasattr(channel, "_q_for_pri") else 0
        except (*parent.connection_errors, *parent.channel_errors):
            logger.warning("parked messages could not be read; trying again", exc_info=True)
            return 0


def release_parked(channel: Any, *, now_ms: float | None = None) -> int:
    """Put parked messages that are due soon into their queue; return how many."""
    now_ms = time.time() * 1000 if now_ms is None else now_ms
    released = 0
    with channel.conn_or_acquire() as client:
        for raw in client.zrangebyscore(PARKED, "-inf", now_ms, start=0, num=MOST_AT_ONCE):
            properties = json.loads(raw).get("properties", {})
            queue = properties.get("delivery_info", {}).get("routing_key", "")
            if queue:
                key = channel._q_for_pri(queue, properties.get("priority") or 0)
                released += client.eval(_RELEASE, 2, PARKED, key, raw)
    if released:
        logger.info("%d parked messages released", released)
    return released

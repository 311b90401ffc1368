"""The time by a broker's clock, and how far ours is from it.

Producers and workers may be anywhere; the server's clock is the one that all of them share. An ETA is past when it is
past there. RabbitMQ does not report its time over AMQP, so ours is used there.

Source: Redis TIME; dramatiq/middleware/retries.py (``DEFAULT_MIN_BACKOFF``: 15 s, the shortest delay that a library
sets by itself).
"""

from __future__ import annotations

import time
from typing import Any

#: From this difference on it is a warning.
SKEW_WARNING_S = 2.0
#: From this difference on a retry whose delay has only begun counts as due.
SKEW_ERROR_S = 15.0
_SAMPLES = 3


def server_time_s(client: Any) -> float:
    """Return the server's time in seconds since the epoch."""
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def ahead_s(client: Any) -> float:
    """Return by how many seconds at least the server's clock is ahead of ours, negative if behind.

    A request takes time, so only a server time outside of that interval counts as a difference: a late answer is none.
    """
    seen = []
    for _ in range(_SAMPLES):
        before = time.time()
        there = server_time_s(client)
        after = time.time()
        seen.append(there - after if there > after else min(0.0, there - before))
    return max(seen, key=abs)

"""What time it is by a broker's clock, and how far ours is from it.

Producers and workers may be anywhere; the server's clock is the one that all of them share. An ETA is past when it is
past there. RabbitMQ does not tell its time over AMQP: there ours has to do.

Source: Redis TIME; dramatiq/middleware/retries.py (``DEFAULT_MIN_BACKOFF``: 15 s, the shortest delay that a library
sets by itself).
"""

from __future__ import annotations

import time
from typing import Any

#: From here on a person should know.
SKEW_WARNING_S = 2.0
#: From here on a retry whose pause has only begun counts as due.
SKEW_ERROR_S = 15.0
_SAMPLES = 3


def server_time_s(client: Any) -> float:
    """Return the server's time in seconds since the epoch."""
    seconds, micros = client.time()
    return float(seconds) + float(micros) / 1e6


def ahead_s(client: Any) -> float:
    """Return by how many seconds at least the server's clock is ahead of ours, negative if behind.

    A question takes time, so a difference is only seen where the answer lies outside of it: an answer that comes late
    is no difference.
    """
    seen = []
    for _ in range(_SAMPLES):
        before = time.time()
        there = server_time_s(client)
        after = time.time()
        seen.append(there - after if there > after else min(0.0, there - before))
    return max(seen, key=abs)

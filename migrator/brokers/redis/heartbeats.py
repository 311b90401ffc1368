"""What Redis knows about Dramatiq processes: heartbeats, and which process holds claimed messages.

A heartbeat alone does not prove a worker: every process that enqueues writes one too. A set of claimed messages does.

Source: dramatiq/brokers/redis/dispatch.lua (``ns:__heartbeats__``, ``ns:__acks__.<broker id>.<queue>``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from migrator.brokers.redis.client import client_url
from migrator.errors import UnreachableError
from migrator.plan.model import Endpoint
from migrator.plan.placeholders import endpoint_url
from migrator.redaction import redact
from migrator.wire.broker_url import BrokerKind, broker_kind

if TYPE_CHECKING:
    import redis


#: A worker that has sent no heartbeat for so long while we looked is dead: each of its consumers sends one a second.
SILENCE_S = 6.0
_LOOK_S = 0.5


@contextmanager
def connection(endpoint: Endpoint, environ: Mapping[str, str]) -> Iterator[redis.Redis | None]:
    """Open a Redis connection to an endpoint; None if its broker is not Redis.

    Raises:
        UnreachableError: The server does not answer.
    """
    import redis as library

    url = endpoint_url(endpoint, environ)
    if broker_kind(url) is not BrokerKind.REDIS:
        yield None
        return
    client = library.Redis.from_url(client_url(url), socket_timeout=5, socket_connect_timeout=3)
    try:
        yield client
    except (library.ConnectionError, library.TimeoutError, library.AuthenticationError) as error:
        raise UnreachableError(
            redact(url), "the broker does not answer", found=redact(str(error)), remedy="start it or correct the URL"
        ) from error
    finally:
        client.close()


def heartbeats_since(endpoint: Endpoint, environ: Mapping[str, str], *, since: float) -> tuple[str, ...]:
    """Return the broker ids that have sent a heartbeat after ``since`` (seconds since the epoch)."""
    with connection(endpoint, environ) as client:
        if client is None:
            return ()
        found = client.zrangebyscore(f"{endpoint.namespace}:__heartbeats__", since * 1000, "+inf")
        return tuple(_text(broker_id) for broker_id in found)


def claimed(endpoint: Endpoint, environ: Mapping[str, str]) -> dict[str, int]:
    """Return how many messages of the endpoint's queues each broker id has claimed; zeros are left out."""
    with connection(endpoint, environ) as client:
        if client is None:
            return {}
        namespace = endpoint.namespace
        owners = [_text(found) for found in client.zrange(f"{namespace}:__heartbeats__", 0, -1)]
        queues = [name for queue in endpoint.queues for name in (queue, f"{queue}.DQ")]
        counts = {
            owner: sum(int(client.scard(f"{namespace}:__acks__.{owner}.{queue}")) for queue in queues)
            for owner in owners
        }
    return {owner: count for owner, count in counts.items() if count}


def living_holders(endpoint: Endpoint, environ: Mapping[str, str], *, besides: int) -> tuple[str, ...]:
    """Return the broker ids that hold claimed messages and whose heartbeats move while we look.

    A heartbeat is the time of the worker's own clock, which may be anything: only that it moves shows life. Nobody is
    looked at twice where at most ``besides`` ids hold messages: so many are expected.
    """
    holders = set(claimed(endpoint, environ))
    if len(holders) <= besides:
        return ()
    first, moved = last_heartbeats(endpoint, environ), set[str]()
    end = time.monotonic() + SILENCE_S
    while len(moved) <= besides and time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = last_heartbeats(endpoint, environ)
        moved |= {owner for owner in holders if now.get(owner) != first.get(owner)}
    return tuple(sorted(moved))


def last_heartbeats(endpoint: Endpoint, environ: Mapping[str, str]) -> dict[str, float]:
    """Return the last heartbeat of every broker id, by its own clock."""
    with connection(endpoint, environ) as client:
        if client is None:
            return {}
        found: Any = client.zrange(f"{endpoint.namespace}:__heartbeats__", 0, -1, withscores=True)
        return {_text(owner): float(beat) for owner, beat in found}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

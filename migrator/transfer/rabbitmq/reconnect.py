"""Continue after a lost connection where RabbitMQ is among the servers: connect again, take the locks, repeat.

What was in flight is on the servers, so repeating the same action finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import redis

from migrator.brokers.rabbitmq.server import CONNECTION_ERRORS, ERRORS, BlockedError, failure
from migrator.brokers.redis.server import CONNECTION_ERRORS as REDIS_CONNECTION_ERRORS
from migrator.brokers.redis.server import failure as redis_failure
from migrator.errors import MigratorError, UnreachableError
from migrator.transfer.lock import acquire
from migrator.transfer.rabbitmq.connections import MixedConnections

_MAX_LOSSES = 100
_PAUSE_S = 0.2
_LOCK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstConnection:
    """How to connect for the first time."""

    #: How long to wait for another run's lock.
    wait_s: float
    #: Break that lock.
    takeover: bool = False


def keep_trying(
    mixed: MixedConnections,
    action: Callable[[], None],
    *,
    token: str,
    limit_s: float,
    first: FirstConnection | None = None,
) -> int:
    """Run ``action``, again after each loss of a connection; return how often one was lost or could not be made.

    Args:
        mixed: The servers.
        action: May be repeated at any time.
        token: The token of the locks in Redis.
        limit_s: How long to try to reconnect.
        first: Connect first; None if the connections are open.

    Raises:
        UnreachableError: A connection can't be made, or not be made again.
        RefusedError: A server refuses, or another run took over.
    """
    losses, cuts, deadline, needed = 0, 0, 0.0, first is not None
    while True:
        try:
            if needed:
                _connect(mixed, token, first or FirstConnection(wait_s=_LOCK_AGAIN_S))
                needed, deadline = False, 0.0
            action()
            return losses
        except (redis.RedisError, *ERRORS, UnreachableError) as error:
            if not _is_transient(error):
                raise _translated(mixed, error) from error
            lost = _translated(mixed, error)
        # We wait for a server that is away, but not for one that cuts us off again and again.
        losses, cuts = losses + 1, cuts + (not needed)
        deadline = deadline or time.monotonic() + limit_s
        if first is not None or time.monotonic() > deadline or cuts > _MAX_LOSSES:
            raise lost
        needed = True
        time.sleep(_PAUSE_S)


def _connect(mixed: MixedConnections, token: str, how: FirstConnection) -> None:
    mixed.drop_sessions(lost=True)
    acquire(mixed.redis.servers.values(), token, wait_s=0, takeover=False)
    mixed.connect(wait_s=how.wait_s, takeover=how.takeover)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, BlockedError):
        return False
    return isinstance(error, (*CONNECTION_ERRORS, *REDIS_CONNECTION_ERRORS, UnreachableError))


def _translated(mixed: MixedConnections, error: Exception) -> MigratorError:
    where = ", ".join(sorted({broker.where for broker in mixed.whole.brokers.values()}))
    if isinstance(error, UnreachableError):
        return error
    return (redis_failure if isinstance(error, redis.RedisError) else failure)(where, error)

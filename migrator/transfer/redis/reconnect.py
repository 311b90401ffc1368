"""Continue after a lost connection: reconnect, read the claim, continue; or give up with a clear error."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from migrator.brokers.redis.server import CONNECTION_ERRORS, failure
from migrator.transfer.connections import Connections
from migrator.transfer.lock import retake
from migrator.transfer.redis.mover import Mover

_MAX_LOSSES = 100


def keep_trying(
    connections: Connections, mover: Mover, action: Callable[[], None], *, token: str, limit_s: float
) -> int:
    """Run ``action``, again after each loss of a connection; return how often it was lost.

    Args:
        connections: The servers.
        mover: Used by the action; it is brought back in line with the servers.
        action: May be repeated at any time.
        token: The token of the lock.
        limit_s: How long to try to reconnect.

    Raises:
        UnreachableError: The connection could not be made again.
        RefusedError: The server refuses a command.
        InterruptedRunError: Another run took over.
    """
    losses = 0
    while True:
        try:
            action()
            return losses
        except (redis.RedisError, OSError) as error:
            losses += 1
            if not _is_transient(error) or losses > _MAX_LOSSES:
                raise failure(_where(connections), error) from error
            _reconnect(connections, mover, token, error, limit_s)


def keep_lock(connections: Connections, token: str) -> None:
    """Extend the lock on every server; take it again where a restart has lost it.

    Raises:
        InterruptedRunError: Another run has it, or has had it since.
    """
    for server in connections.servers.values():
        retake(server, token)


def _is_transient(error: Exception) -> bool:
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return False
    # Source: redis-py (redis/_parsers/base.py) strips the code from errors that have a class of their own.
    kinds = (*CONNECTION_ERRORS, redis.exceptions.NoScriptError)
    return isinstance(error, kinds) or str(error).startswith(("CHANGED", "BUSY"))


def _reconnect(connections: Connections, mover: Mover, token: str, error: Exception, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    pause_s = 0.02
    while True:
        try:
            connections.drop_pipelines()
            keep_lock(connections, token)
            mover.recover()
            return
        except (redis.RedisError, OSError) as again:
            if not _is_transient(again) or time.monotonic() > deadline:
                raise failure(_where(connections), error) from again
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)


def _where(connections: Connections) -> str:
    return ", ".join(sorted({server.where for server in connections.servers.values()}))

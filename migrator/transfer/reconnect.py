"""Continue after a lost connection: connect again, make sure of the locks, or give up with a clear error."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from migrator.errors import MigratorError, UnreachableError
from migrator.transfer.connections import Connections

_MOST_LOSSES = 100
_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5


def keep_trying(
    connections: Connections, action: Callable[[], None], recover: Callable[[], None], *, limit_s: float
) -> int:
    """Run ``action``, again after each loss of a connection; return how often one was lost.

    Args:
        connections: The servers.
        action: May be repeated at any time.
        recover: Brings the run back in line with the servers, once they are connected again.
        limit_s: How long to try to reconnect.

    Raises:
        ForgottenError: A server has forgotten what it had confirmed.
        UnreachableError: A connection could not be made again.
        RefusedError, InterruptedRunError: A server refuses a command; another run took over.
    """
    losses, deadline, pause_s = 0, 0.0, _PAUSE_S
    lost: MigratorError | None = None
    errors = tuple({kind for server in connections.servers.values() for kind in server.errors})
    while True:
        try:
            if lost is not None:
                for server in connections.servers.values():
                    server.reconnect()
                recover()
                lost, pause_s = None, _PAUSE_S
            action()
            return losses
        except errors as error:
            if not any(server.is_transient(error) for server in connections.servers.values()):
                raise _refusal(connections, error) from error
            if lost is None:
                # We wait for a server that is away, but not for one that cuts us off again and again.
                losses, deadline, lost = losses + 1, time.monotonic() + limit_s, _failure(connections, error)
                if losses <= _MOST_LOSSES:
                    continue
            if losses > _MOST_LOSSES or time.monotonic() > deadline:
                raise lost from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _refusal(connections: Connections, error: Exception) -> MigratorError:
    """Return the error, unless a server has forgotten messages: that explains any other refusal."""
    with suppress(UnreachableError):
        connections.recall()
    return _failure(connections, error)


def _failure(connections: Connections, error: Exception) -> MigratorError:
    """Return an error of a library as one of ours."""
    if isinstance(error, MigratorError):
        return error
    servers = connections.servers.values()
    where = ", ".join(sorted({server.where for server in servers}))
    return next(server for server in servers if isinstance(error, server.errors)).failure(error, where)

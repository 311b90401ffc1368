"""The connection to one database of a Redis server, and its lock."""

from __future__ import annotations

import redis

from migrator.brokers.redis.keys import STEPS
from migrator.brokers.redis.pipeline import RedisPipeline
from migrator.brokers.redis.server import CONNECTION_ERRORS, RedisServer, failure
from migrator.errors import ForgottenError, MigratorError
from migrator.transfer.lock import acquire, release, retake
from migrator.transfer.ports import Peers


class RedisLink:
    """One database.

    Args:
        server: The client.
        identity: What distinguishes this database from any other.
        peers: All servers of the run.
    """

    errors = (redis.RedisError, OSError)

    def __init__(self, server: RedisServer, identity: str, peers: Peers) -> None:
        self.server = server
        self.client = server.client
        self.where = server.where
        self.identity = identity
        self.token = peers.token
        self.peers = peers
        self._pipeline: RedisPipeline | None = None

    @property
    def pipeline(self) -> RedisPipeline:
        """The connection for scripts, opened on first use."""
        if self._pipeline is None:
            self._pipeline = RedisPipeline(self.server)
        return self._pipeline

    def pipelines(self) -> tuple[RedisPipeline, ...]:
        """Return the connection for scripts, if it is open."""
        return () if self._pipeline is None else (self._pipeline,)

    def lock(self, *, wait_s: float, takeover: bool) -> None:
        """Take the lock."""
        acquire([self.server], self.token, wait_s=wait_s, takeover=takeover)

    @property
    def mark(self) -> str:
        """How many steps of ours it has confirmed."""
        return str(self.server.steps)

    def leave_mark(self) -> None:
        """Count one more step."""
        self.server.steps = int(self.client.incr(STEPS))

    def recall(self, mark: str = "") -> None:
        """Make sure that the server knows every step that it has confirmed.

        Its memory is a beginning of its history: what is missing is the end. So the last step stands for all.
        """
        known, found = max(self.server.steps, int(mark or 0)), int(self.client.get(STEPS) or 0)
        if found < known:
            raise ForgottenError(
                self.where,
                "the server has forgotten messages: it was restarted without its data, restored to an older state, "
                "failed over to a replica that lagged, or emptied",
                found=f"it knows {found} of {known} steps",
                remedy=self.peers.remedy_if_forgotten,
            )

    def reconnect(self) -> None:
        """After an error: drop what is in flight, and make sure that the lock is still ours."""
        self._drop()
        self.keep_lock()
        # Steps whose answer got lost are confirmed now.
        self.server.steps = int(self.client.get(STEPS) or 0)

    def keep_lock(self) -> None:
        """Extend the lock; take it again where it is lost and nothing else is."""
        self.server.require_same_master()  # first: the one before may be away for good
        self.recall()
        retake(self.server, self.token)

    def release(self) -> None:
        """Release the lock and drop what is in flight."""
        self._drop()
        release([self.server], self.token)

    def close(self) -> None:
        """Close the connections."""
        self._drop()
        self.server.close()

    def _drop(self) -> None:
        """Close the pipeline; the outcome of what was in flight on it is unknown."""
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None

    def is_transient(self, error: Exception) -> bool:
        """Say whether connecting again may help."""
        if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
            return False
        # Source: redis-py (redis/_parsers/base.py) strips the code from errors that have a class of their own.
        kinds = (*CONNECTION_ERRORS, redis.exceptions.NoScriptError)
        return isinstance(error, kinds) or str(error).startswith(("CHANGED", "BUSY"))

    def failure(self, error: Exception, where: str) -> MigratorError:
        """Return an error of redis-py as one of ours."""
        return failure(where, error)

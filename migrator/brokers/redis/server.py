"""One Redis-compatible server: connection, scripts, facts about itself, and its errors as ours.

The client never retries a command by itself: after a lost reply only the caller knows how to find out what happened.

Source: redis-py (redis/exceptions.py, redis/retry.py); Redis INFO; Lua: a script is atomic but not rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from migrator.brokers import clock
from migrator.brokers.protocol import BrokerFacts
from migrator.brokers.redis.client import Client, client_url, require_same_master
from migrator.brokers.redis.lua import counts_step, script
from migrator.errors import InterruptedRunError, RefusedError, UnreachableError
from migrator.redaction import redact_url
from migrator.report import Finding, Severity

TIMEOUT_S = 15.0
#: Errors that mean that the connection is gone and the outcome of the last command is unknown.
CONNECTION_ERRORS = (redis.ConnectionError, redis.TimeoutError, OSError)


class RedisServer:
    """A client for one database of one server.

    Args:
        url: As :func:`migrator.plan.placeholders.endpoint_url` returns it.
    """

    def __init__(self, url: str) -> None:
        self.where = redact_url(url)
        self._url = url
        self._master = client_url(url)
        #: Of the master, where Sentinels may name another one at any time.
        self._run_id = ""
        # Typed loosely: redis-py's answers are unions of every mode that it knows.
        self.client: Any = Client.from_url(
            self._master,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=5.0,
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
        )
        #: How many steps of ours it has confirmed (:mod:`migrator.transfer.redis.link`).
        self.steps = 0
        #: Number of our run on this server while we hold its lock (:mod:`migrator.transfer.lock`).
        self.run_number = 0
        self.database = int(self.client.connection_pool.connection_kwargs.get("db") or 0)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.client.connection_pool.disconnect()

    @contextmanager
    def other_database(self, number: int) -> Iterator[Any]:
        """Yield a client of another database of the server, on a connection of its own."""
        client = self.client.client()
        try:
            client.select(number)
            yield client
        finally:
            # It must not go back to the pool, whose connections are to our database.
            client.connection.disconnect()
            client.close()

    def run(self, name: str, keys: list[Any], arguments: list[Any]) -> Any:
        """Run one of our scripts and return its result; redis-py's errors propagate."""
        digest, text = script(name)
        try:
            answer = self.client.evalsha(digest, len(keys), *keys, *arguments)
        except redis.exceptions.NoScriptError:
            answer = self.client.eval(text, len(keys), *keys, *arguments)
        self.steps += counts_step(name)
        return answer

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn redis-py's errors into ours."""
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise failure(self.where, error) from error

    def identity(self) -> str:
        """Return what distinguishes this server and database from any other."""
        info = self.client.info("server")
        self._run_id = str(info["run_id"])
        return f"{info['run_id']}/{self.database}"

    def require_same_master(self) -> None:
        """Refuse to go on where Sentinels have changed the master since :meth:`identity` was asked."""
        if self._run_id:
            require_same_master(self._url, self._master, self.client, self._run_id)

    def facts(self) -> BrokerFacts:
        """Ask the server about itself.

        Raises:
            UnreachableError: It does not answer.
        """
        with self.translated():
            info: dict[str, Any] = self.client.info()
            ahead_s = clock.ahead_s(self.client)
        is_valkey = "valkey_version" in info
        persistence = [
            name
            for name, on in (("rdb", self._setting("save")), ("aof", info.get("aof_enabled")))
            if on and str(on) != "0"
        ]
        return BrokerFacts(
            where=self.where,
            server=f"valkey {info['valkey_version']}" if is_valkey else f"redis {info['redis_version']}",
            role=str(info.get("role", "master")),
            used_memory_bytes=int(info.get("used_memory", 0)),
            maxmemory_bytes=int(info.get("maxmemory", 0)),
            eviction_policy=str(info.get("maxmemory_policy", "noeviction")),
            persistence="+".join(persistence) or "none",
            identity=f"{info['run_id']}/{self.database}",
            findings=tuple(_findings(self.where, info, persistence)),
            clock_ahead_s=ahead_s,
        )

    def _setting(self, name: str) -> str:
        # CONFIG is forbidden on many hosted servers; then nothing is said about persistence.
        try:
            return str(self.client.config_get(name).get(name, ""))
        except redis.RedisError:
            return ""


def _findings(where: str, info: dict[str, Any], persistence: list[str]) -> Iterator[Finding]:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        what = "the server may evict queues when its memory is full"
        remedy = "CONFIG SET maxmemory-policy noeviction"
        yield _finding("BROKER-EVICTION", Severity.ERROR, where, what, f"maxmemory-policy {policy}", remedy)
    if info.get("role") not in (None, "master"):
        what, remedy = "this is a replica", "use the URL of the primary server"
        yield _finding("BROKER-REPLICA", Severity.ERROR, where, what, f"role {info.get('role')}", remedy)
    if int(info.get("cluster_enabled", 0)):
        what, remedy = "a cluster can't move messages between its slots in one step", "use a single server"
        yield _finding("BROKER-CLUSTER", Severity.ERROR, where, what, "cluster_enabled:1", remedy)
    if not persistence:
        what, remedy = "a restart of the server loses every message", "CONFIG SET appendonly yes"
        yield _finding("BROKER-VOLATILE", Severity.WARNING, where, what, "neither RDB nor AOF", remedy)
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used > 0.9 * limit:
        what, remedy = "the server's memory is nearly full", "raise maxmemory before messages are moved"
        yield _finding("BROKER-MEMORY", Severity.ERROR, where, what, f"{used} of {limit} bytes", remedy)


def _finding(code: str, severity: Severity, where: str, what: str, found: str, remedy: str) -> Finding:  # noqa: PLR0917
    return Finding(code=code, severity=severity, where=where, what=what, found=found, remedy=remedy)


def failure(where: str, error: Exception) -> UnreachableError | RefusedError | InterruptedRunError:
    """Return a redis-py error as one of ours."""
    text = str(error)[:300]
    if text.startswith("FENCED"):
        return InterruptedRunError(where, "another run took over", found=text, remedy="let that run finish")
    if text.startswith("ALIVE"):
        return RefusedError(where, "a worker is still alive", found=text, remedy="stop the old workers first")
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError) or "NOAUTH" in text:
        return UnreachableError(where, "the server refuses the password", found=text, remedy="correct the broker's URL")
    if isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in text:
        remedy = "give the URL's user the rights that RUNBOOK.md lists, or name another user; then run again"
        return RefusedError(where, "the server does not permit this user to do that", found=text, remedy=remedy)
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "OOM" in text:
        remedy = "raise maxmemory and run again; nothing of this batch was changed"
        return RefusedError(where, "the server's memory limit is reached", found=text, remedy=remedy)
    if isinstance(error, redis.exceptions.ReadOnlyError) or "READONLY" in text:
        remedy = "use the URL of the primary server"
        return RefusedError(where, "the server is a read-only replica", found=text, remedy=remedy)
    if "WRONGTYPE" in text:
        remedy = "something else uses this key; rename or remove it"
        return RefusedError(where, "a key has the wrong type", found=text, remedy=remedy)
    if isinstance(error, CONNECTION_ERRORS):
        remedy = "start the server, or correct the broker's URL, then run the same command again"
        return UnreachableError(where, "the server can't be reached", found=text, remedy=remedy)
    wrong_url = "DB index" in text or "SSL" in text
    remedy = "correct the broker's URL" if wrong_url else "see the server's log, then run the same command again"
    return RefusedError(where, "the server refused a command", found=text, remedy=remedy)

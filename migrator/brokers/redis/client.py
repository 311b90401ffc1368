"""The client of a Redis server, and a URL as redis-py has it.

Source: redis-py (redis/connection.py: ``parse_url``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
from redis.sentinel import Sentinel

from migrator.errors import RefusedError, UnreachableError
from migrator.wire.broker_url import SENTINEL, BrokerUrl, read_broker_url

SENTINEL_TIMEOUT_S = 3.0


def client_url(url: str) -> str:
    """Return a URL that means to redis-py what ``url`` means to Celery; of Sentinels, that of the present master.

    Raises:
        UsageError: Celery can't read it.
        UnreachableError: No Sentinel names a master.
    """
    read = read_broker_url(url)
    if read.scheme == SENTINEL:
        host, port = _master(read)
        read = replace(read, scheme="redis", host=host, port=port, others=())
    account = f"{quote(read.user, safe='')}:{quote(read.password, safe='')}@" if read.user or read.password else ""
    host = f"[{read.host}]" if ":" in read.host else quote(read.host)
    scheme = "unix" if read.socket else "redis" if read.tls is None else "rediss"
    place = quote(read.socket) if read.socket else f"{host}:{read.port}/"
    return f"{scheme}://{account}{place}?{urlencode({'db': read.database, **(read.tls or {})})}"


def direct_url(url: str) -> str:
    """Return a URL for Celery in which a server has the place of its Sentinels."""
    if read_broker_url(url).scheme != SENTINEL:
        return url
    parts = urlsplit(client_url(url))
    options = dict(parse_qsl(parts.query))
    return urlunsplit(parts._replace(path=f"/{options.pop('db')}", query=urlencode(options)))


def require_same_master(url: str, before: str, client: redis.Redis, run_id: str) -> None:
    """Refuse to go on with another master than before; redis-py's errors propagate.

    Args:
        url: That of the Sentinels; with another one, nothing is asked.
        before: What :func:`client_url` made of it.
        client: Connected to that master.
        run_id: Its identity then.

    Raises:
        RefusedError: The Sentinels name another one, or another process answers in its place.
    """
    read = read_broker_url(url)
    if read.scheme != SENTINEL:
        return
    now = client_url(url)
    if now == before and str(dict(client.info("server"))["run_id"]) == run_id:
        return
    was, now = (urlsplit(text).netloc.rpartition("@")[2] for text in (before, now))
    raise RefusedError(
        read.where,
        "the Sentinels have changed the master meanwhile, which may not have got the last messages that moved",
        found=f"it was {was} and is {now}" if was != now else f"{was} was restarted",
        remedy="run the same command again: it goes on there; count the messages against the snapshot of the run",
    )


def _master(read: BrokerUrl) -> tuple[str, int]:
    """Ask the Sentinels, as Celery's and Dramatiq's workers do, where the master is."""
    places = [(server.host, server.port) for server in (read, *read.others)]
    asked = Sentinel(places, socket_timeout=SENTINEL_TIMEOUT_S, socket_connect_timeout=SENTINEL_TIMEOUT_S)  # type: ignore[no-untyped-call]
    try:
        host, port = asked.discover_master(read.master_name)  # type: ignore[no-untyped-call]
        return str(host), int(port)
    except (redis.RedisError, OSError) as error:
        raise UnreachableError(
            read.where,
            f"no Sentinel names a master called {read.master_name}",
            found=str(error)[:300],
            remedy="start the Sentinels, or correct `broker` and `master_name`; after a failover run the command again",
        ) from error
    finally:
        for client in asked.sentinels:
            client.close()


class Client(redis.Redis):
    """The client; an error about a key's type names the key, which the server's own message does not."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its answer."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            position = 3 if str(args[0]).startswith("EVAL") else 1
            if str(error).startswith("WRONGTYPE Operation") and len(args) > position:
                raise redis.ResponseError(f"WRONGTYPE {_text(args[position])}, asked by {args[0]}") from error
            raise


def _text(key: object) -> str:
    return key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)

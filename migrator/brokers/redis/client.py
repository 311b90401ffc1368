"""The client of a Redis server, and a URL as redis-py has it.

Source: redis-py (redis/connection.py: ``parse_url``).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import redis

from migrator.wire.broker_url import read_broker_url


def client_url(url: str) -> str:
    """Return a URL that means to redis-py what ``url`` means to Celery.

    Raises:
        UsageError: Celery can't read it.
    """
    read = read_broker_url(url)
    account = f"{quote(read.user, safe='')}:{quote(read.password, safe='')}@" if read.user or read.password else ""
    host = f"[{read.host}]" if ":" in read.host else quote(read.host)
    scheme = "unix" if read.socket else "redis" if read.tls is None else "rediss"
    place = quote(read.socket) if read.socket else f"{host}:{read.port}/"
    return f"{scheme}://{account}{place}?{urlencode({'db': read.database, **(read.tls or {})})}"


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

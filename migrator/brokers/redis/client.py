"""The client, and URLs of Redis servers: shown without secrets, and read as Celery and Dramatiq read them.

Source: kombu/transport/redis.py and kombu/utils/url.py (``redis+socket://…?virtual_host=``, ``ssl_cert_reqs=CERT_…``);
redis-py (redis/connection.py: ``parse_url``).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import redis

#: Schemes of Celery and Valkey, and their names in redis-py.
_SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis+socket": "unix"}


def client_url(url: str) -> str:
    """Return a URL in the form that redis-py accepts, which is not always the form that Celery accepts."""
    scheme, _, rest = url.partition("://")
    address, sign, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if scheme == "redis+socket" and "virtual_host" in options:
        options["db"] = options.pop("virtual_host").lstrip("/")
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    return f"{_SCHEMES.get(scheme, scheme)}://{address}" + (f"?{urlencode(options)}" if sign else "")


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

"""URLs of Redis servers: shown without secrets, and read as Celery and Dramatiq read them; and the client itself.

Source: kombu/transport/redis.py and kombu/utils/url.py (``redis+socket://…?virtual_host=``, ``ssl_cert_reqs=CERT_…``);
redis-py (redis/connection.py: ``parse_url``).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import redis

from migrator.errors import UsageError

#: Their names here, by the names that redis-py knows.
_SCHEMES = {"valkey": "redis", "valkeys": "rediss", "redis+socket": "unix"}
HIDDEN = "…"


def redacted(url: str) -> str:
    """Return a URL without user, password and options, whatever else is wrong with it."""
    scheme, sign, rest = url.partition("://")
    if not sign:
        return HIDDEN
    secret, _, rest = rest.rpartition("@")
    if any(letter in secret for letter in "/?#"):
        # A password that is not escaped, or an @ behind the path: nobody can tell what of it is the password.
        return f"{scheme}://{HIDDEN}"
    address, _, query = rest.partition("?")
    address = address.partition("#")[0]
    host, slash, path = address.partition("/")
    name, colon, port = host.rpartition(":")
    if colon and port and not port.isdecimal() and not host.endswith("]"):
        host = f"{name}:{HIDDEN}"
    database = next((value for key, value in parse_qsl(query) if key in ("db", "virtual_host")), "")
    return f"{scheme}://{host}{slash}{path}" + (f"?db={database}" if database.isdecimal() else "")


def no_url(where: str, kind: str, error: ValueError) -> UsageError:
    """Return what to say of a URL that can't be read as that of a server of this kind.

    Args:
        where: The URL as :func:`redacted` gives it.
        kind: Name of the server.
        error: What the parser says, which may hold a part of the password.
    """
    return UsageError(
        where,
        f"this is no URL of a {kind} server",
        found="" if HIDDEN in where else str(error),
        remedy="write /, ?, # and @ in a password as %2F, %3F, %23 and %40; the port is a number",
    )


def client_url(url: str) -> str:
    """Return a URL in the words of redis-py: what Celery takes, it does not take everywhere."""
    scheme, _, rest = url.partition("://")
    address, sign, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if scheme == "redis+socket" and "virtual_host" in options:
        options["db"] = options.pop("virtual_host").lstrip("/")
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].removeprefix("CERT_").lower()
    return f"{_SCHEMES.get(scheme, scheme)}://{address}" + (f"?{urlencode(options)}" if sign else "")


class Client(redis.Redis):
    """The client; a refusal because of a key's type names the key, which the server does not."""

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

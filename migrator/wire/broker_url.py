"""One reading of a broker's URL: the kind of server, where it is, whose account is used, and what of it may be shown.

Source: kombu/utils/url.py and kombu/transport/redis.py (``redis+socket://…?virtual_host=``); redis/connection.py
(``parse_url``); https://www.rabbitmq.com/docs/uri-spec.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from migrator.errors import UsageError
from migrator.redaction import HIDDEN, redact_url


class BrokerKind(StrEnum):
    """The server behind a URL."""

    REDIS = "Redis"
    RABBITMQ = "RabbitMQ"


_KINDS = {
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix", "redis+socket"), BrokerKind.REDIS),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), BrokerKind.RABBITMQ),
}
_PORTS = {"redis": 6379, "rediss": 6379, "valkey": 6379, "valkeys": 6379, "amqp": 5672, "pyamqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUrl:
    """A URL, taken apart and decoded. Of a list with ``;`` it is the first."""

    text: str = field(repr=False)
    scheme: str
    #: None if no broker module reads this scheme.
    kind: BrokerKind | None
    #: The URL without user, password and options.
    where: str
    host: str
    #: 0 if neither given nor known for the scheme.
    port: int
    user: str
    password: str = field(repr=False)
    #: RabbitMQ: the virtual host, ``/`` by default, as Celery and Dramatiq both read it. Redis: the path, undecoded.
    path: str

    @property
    def is_encrypted(self) -> bool:
        """Tell whether RabbitMQ is reached by TLS."""
        return self.scheme == "amqps"

    def with_virtual_host(self, name: str) -> str:
        """Return the URL with another virtual host."""
        return urlunsplit(urlsplit(self.text)._replace(path=f"/{quote(name, safe='')}"))


def broker_kind(url: str) -> BrokerKind | None:
    """Return the kind of server that a URL names; None if no broker module reads its scheme."""
    return _KINDS.get(url.partition("://")[0])


def read_broker_url(url: str) -> BrokerUrl:
    """Take a URL apart.

    Raises:
        UsageError: It can't be read; no part of a password is shown.
    """
    text = url.split(";", maxsplit=1)[0].strip()
    where, kind = redact_url(text), broker_kind(text)
    try:
        parts = urlsplit(text)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise not_a_url(where, kind.value if kind else "broker", error) from None
    guest = "guest" if kind is BrokerKind.RABBITMQ else ""
    return BrokerUrl(
        text=text,
        scheme=parts.scheme,
        kind=kind,
        where=where,
        host=parts.hostname or "localhost",
        port=port,
        user=unquote(parts.username or guest),
        password=unquote(parts.password or guest),
        path=(unquote(parts.path[1:]) or "/") if kind is BrokerKind.RABBITMQ else parts.path,
    )


def not_a_url(where: str, kind: str, error: ValueError) -> UsageError:
    """Return what to say of a URL that can't be read as that of a server of this kind.

    Args:
        where: The URL as :func:`migrator.redaction.redact_url` gives it.
        kind: Name of the server.
        error: What the parser says, which may hold a part of the password.
    """
    return UsageError(
        where,
        f"this is no URL of a {kind} server",
        found="" if HIDDEN in where else str(error),
        remedy="write /, ?, # and @ in a password as %2F, %3F, %23 and %40; the port is a number",
    )

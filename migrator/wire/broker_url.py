"""One reading of a broker's URL: the kind of server, where it is, whose account is used, and what of it may be shown.

What a URL means is decided by the library that the worker reads it with (:mod:`migrator.wire.url_readings`).
:func:`normal_url` writes that down once, so everything of ours reads every URL as Celery does.

Source: kombu/connection.py (a list of servers is separated by ``;``); dramatiq/brokers/rabbitmq.py (likewise).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from migrator.errors import UsageError
from migrator.redaction import HIDDEN, know, redact_url
from migrator.wire.message import System
from migrator.wire.url_readings import AMQP_READINGS, REDIS_READINGS, ServerAddress, UnreadableUrlError, sentinel


class BrokerKind(StrEnum):
    """The server behind a URL."""

    REDIS = "Redis"
    RABBITMQ = "RabbitMQ"


#: Scheme of the URL of a Sentinel, which knows where the server is.
SENTINEL = "sentinel"
_KINDS = {
    **dict.fromkeys(("redis", "rediss", "valkey", "valkeys", "unix", "redis+socket", SENTINEL), BrokerKind.REDIS),
    **dict.fromkeys(("amqp", "amqps", "pyamqp", "librabbitmq"), BrokerKind.RABBITMQ),
}
_READINGS = {BrokerKind.REDIS: REDIS_READINGS, BrokerKind.RABBITMQ: AMQP_READINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerUrl(ServerAddress):
    """A URL, taken apart and decoded."""

    #: As it is given; of a list the first.
    text: str = field(repr=False)
    scheme: str
    #: None if no broker module reads this scheme.
    kind: BrokerKind | None
    #: The URL without user, password and options.
    where: str
    #: The servers to try if that one does not answer, as the workers do.
    others: tuple[BrokerUrl, ...] = ()

    @property
    def has_database(self) -> bool:
        """Tell whether the text names a database or virtual host, which may be the default one."""
        return bool(self.socket) or urlsplit(self.text).path not in ("", "/")

    def with_virtual_host(self, name: str) -> str:
        """Return the URL with another virtual host."""
        return urlunsplit(urlsplit(self.text)._replace(path=f"/{quote(name, safe='')}"))

    @property
    def address(self) -> ServerAddress:
        """Where the server is and as whom it is used: equal for two texts that mean the same."""
        return ServerAddress(**{item.name: getattr(self, item.name) for item in fields(ServerAddress)})


def broker_kind(url: str) -> BrokerKind | None:
    """Return the kind of server that a URL names; None if no broker module reads its scheme."""
    return _KINDS.get(url.partition("://")[0].lower())


def read_broker_url(url: str, system: System = System.CELERY) -> BrokerUrl:
    """Take a URL apart as the workers of a system do, and refuse what they can't read.

    Raises:
        UsageError: It can't be read; no part of a password is shown.
    """
    first, *others = (_read(text, system) for text in [text for text in url.split(";") if text] or [url])
    if not others:
        return first
    if {server.scheme for server in (first, *others)} == {SENTINEL}:
        return replace(first, others=tuple(others))
    if first.kind is BrokerKind.REDIS:
        what = "this is a list of Redis servers, each of which may hold messages"
        raise UsageError(first.where, what, found=f"{1 + len(others)} URLs", remedy="name the one that is used")
    spaces = {(server.kind, server.virtual_host) for server in (first, *others)}
    if len(spaces) > 1:
        what, remedy = "the servers of a list are not one cluster", "name those with the queues of this plan"
        found = ", ".join(server.where for server in (first, *others))
        raise UsageError(first.where, what, found=found, remedy=remedy)
    return replace(first, others=tuple(others))


def normal_url(url: str, system: System, master_name: str = "") -> str:
    """Return a URL that means to Celery what ``url`` means to the workers of a system; where it does, itself.

    Args:
        url: As the plan has it.
        system: Of the workers.
        master_name: What Sentinels are asked for; it is written into their URL.

    Raises:
        UsageError: As :func:`read_broker_url`, or Sentinels are not told what to look for.
    """
    read = read_broker_url(url, system)
    if read.kind is None:
        return url
    if read.scheme == SENTINEL:
        if not (name := master_name or read.master_name):
            remedy = 'write master_name = "…" beside `broker`, as in broker_transport_options of Celery'
            raise UsageError(read.where, "the name of the Sentinels' master is missing", remedy=remedy)
        first, *others = url.split(";")
        given = (
            first if read.master_name else f"{first}{'&' if '?' in first else '?'}{urlencode({'master_name': name})}"
        )
        return ";".join((given, *others))
    servers = (read, *read.others)
    return ";".join(server.text if _is_normal(server) else _normal_text(server) for server in servers)


def _is_normal(server: BrokerUrl) -> bool:
    if server.scheme not in ("redis", "rediss", "redis+socket", "amqp", "amqps", "pyamqp"):
        return False
    try:
        return _read(server.text, System.CELERY).address == server.address
    except UsageError:
        return False


def _normal_text(server: BrokerUrl) -> str:
    account = f"{quote(server.user, safe='')}:{quote(server.password, safe='')}@"
    account = account if server.user or server.password else ""
    options = dict(server.tls or {})
    if server.socket:
        query = urlencode({"virtual_host": server.database, **options})
        return f"redis+socket://{account}{quote(server.socket)}?{query}"
    host = f"[{server.host}]" if ":" in server.host else server.host
    if server.kind is BrokerKind.REDIS:
        scheme, space = "redis", str(server.database)
    else:
        scheme, space = "amqp", quote(server.virtual_host, safe="")
    query = f"?{urlencode(options)}" if options else ""
    return f"{scheme}{'s' if server.tls is not None else ''}://{account}{host}:{server.port}/{space}{query}"


def _read(text: str, system: System) -> BrokerUrl:
    where, kind, scheme = redact_url(text), broker_kind(text), text.partition("://")[0].lower()
    address = ServerAddress(host="", port=0, user="", password="")
    try:
        if kind is not None and HIDDEN in where:
            raise ValueError
        if kind is not None:
            address = (sentinel if scheme == SENTINEL else _READINGS[kind][system])(scheme, text)
        elif "://" in text:
            parts = urlsplit(text)
            address = replace(address, host=parts.hostname or "localhost", port=parts.port or 0)
    except ValueError as error:
        if isinstance(error, UnreadableUrlError):
            raise UsageError(where, str(error), remedy=error.remedy) from None
        raise not_a_url(where, kind.value if kind else "broker", error) from None
    know(address.password)
    known = {item.name: getattr(address, item.name) for item in fields(ServerAddress)}
    return BrokerUrl(text=text, scheme=scheme, kind=kind, where=where, **known)


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

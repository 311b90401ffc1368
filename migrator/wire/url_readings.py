"""What each library makes of a URL: kombu (Celery), redis-py and pika (Dramatiq).

A URL that its library refuses is refused here, and so is one of which a part would be ignored without a word, such as
the name of a database where a number belongs.

Source: kombu/utils/url.py (``url_to_parts``, ``parse_url``), kombu/connection.py (``_init_params``: any other option is
a TypeError), kombu/transport/redis.py (``_connparams``, ``_prepare_virtual_host``); redis/connection.py
(``parse_url``); pika/connection.py (``URLParameters``); amqp/transport.py (``_wrap_socket_sni``).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, parse_qsl, unquote, urlsplit

from migrator.wire.message import System

REDIS_PORT, SENTINEL_PORT, AMQP_PORT, AMQPS_PORT = 6379, 26379, 5672, 5671
#: What the options of each library have to be; an option that is not here keeps its worker from starting.
_Kinds = Mapping[str, Callable[[str], object]]
_KOMBU: _Kinds = dict.fromkeys(("connect_timeout", "heartbeat"), float) | dict.fromkeys(("insist", "login_method"), str)
_REDIS_PY: _Kinds = {
    **dict.fromkeys(("db", "port", "max_connections", "health_check_interval", "socket_read_size", "protocol"), int),
    **dict.fromkeys(("socket_timeout", "socket_connect_timeout"), float),
    **dict.fromkeys(("host", "username", "password", "path", "client_name", "lib_name", "lib_version"), str),
    **dict.fromkeys(("encoding", "encoding_errors", "decode_responses", "retry_on_error", "retry_on_timeout"), str),
    **dict.fromkeys(("socket_keepalive", "legacy_responses"), str),
}
_PIKA: _Kinds = {
    **dict.fromkeys(("channel_max", "connection_attempts", "frame_max", "heartbeat"), int),
    **dict.fromkeys(("blocked_connection_timeout", "retry_delay", "socket_timeout", "stack_timeout"), float),
    **dict.fromkeys(("client_properties", "locale", "ssl_options", "tcp_options"), str),
}
_CERT_REQS = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}


class UnreadableUrlError(ValueError):
    """The library can't read the URL, or would ignore a part of it. The text holds no part of a password."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a server is, and as whom it is used."""

    host: str
    #: 0 for a Unix socket.
    port: int
    user: str
    password: str = field(repr=False)
    #: Redis.
    database: int = 0
    #: Redis: the path of a Unix socket; empty for TCP.
    socket: str = ""
    #: RabbitMQ.
    virtual_host: str = ""
    #: Redis: of a Sentinel, the master that it is asked for; host and port are then the Sentinel's.
    master_name: str = ""
    #: Options of TLS as redis-py names them; None without TLS.
    tls: Mapping[str, str] | None = None


def kombu_redis(scheme: str, text: str) -> ServerAddress:
    """Read the URL of a Redis server as Celery's worker does."""
    if scheme == "unix":
        what = "Celery does not read unix://"
        raise UnreadableUrlError(what, "write redis+socket:///path?virtual_host=0, as Celery's setting must")
    on_socket = scheme == "redis+socket"
    parts = _semantics_of_http(text)
    options = dict(parse_qsl(parts.query))
    tls = _tls(options)
    if on_socket:
        database = _database(options.pop("virtual_host", "").removeprefix("/"), "virtual_host=")
        if "db" in options:
            raise UnreadableUrlError("Celery ignores the option db", "write virtual_host=0, or the number that is used")
    else:
        database = _database(_path(parts).removeprefix("/"), "/")
        _require_known(options, _KOMBU, "Celery")
    return ServerAddress(
        host="localhost" if on_socket else unquote(parts.hostname or "") or "localhost",
        port=0 if on_socket else parts.port or REDIS_PORT,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=database,
        socket=f"/{_path(parts)}" if on_socket else "",
        # Without options kombu does not verify; with any, redis-py's default holds.
        tls={"ssl_cert_reqs": "required" if tls else "none"} | tls if tls or scheme in ("rediss", "valkeys") else None,
    )


def sentinel(scheme: str, text: str) -> ServerAddress:
    """Read the URL of a Sentinel as Celery's worker does; account and database are those of the master.

    The name of the master, a transport option of Celery, is added by the plan.
    """
    parts = _semantics_of_http(text)
    options = dict(parse_qsl(parts.query))
    tls, master_name = _tls(options), options.pop("master_name", "")
    _require_known(options, _KOMBU, "Celery")
    return ServerAddress(
        host=unquote(parts.hostname or "") or "localhost",
        port=parts.port or SENTINEL_PORT,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=_database(_path(parts).removeprefix("/"), "/"),
        master_name=master_name,
        tls={"ssl_cert_reqs": "required"} | tls if tls else None,
    )


def redis_py(scheme: str, text: str) -> ServerAddress:
    """Read the URL of a Redis server as Dramatiq's worker does."""
    if scheme == "redis+socket" or not text.startswith(scheme):
        what = f"redis-py does not read {text.partition('://')[0]}://"
        raise UnreadableUrlError(what, "write redis://, rediss://, or unix:///path?db=0")
    parts = urlsplit(text)
    options = {name: values[0] for name, values in parse_qs(parts.query).items()}
    on_socket = scheme == "unix"
    named = "" if on_socket else unquote(parts.path).replace("/", "")
    encrypted = scheme in ("rediss", "valkeys")
    cert_reqs = options.get("ssl_cert_reqs", "")
    tls = _tls(options, ("0", "f", "false", "n", "no"))
    if tls and not encrypted:
        raise UnreadableUrlError("options of TLS without TLS", "write rediss://")
    if cert_reqs.startswith("CERT_"):
        raise UnreadableUrlError("redis-py does not read this ssl_cert_reqs", "write none, optional or required")
    _require_known(options, _REDIS_PY, "Dramatiq")
    return ServerAddress(
        host="localhost" if on_socket else unquote(parts.hostname or "") or options.get("host", "localhost"),
        port=0 if on_socket else parts.port or int(options.get("port", REDIS_PORT)),
        user=unquote(parts.username or "") or options.get("username", ""),
        password=unquote(parts.password or "") or options.get("password", ""),
        database=_database(options.get("db", named), "db=" if "db" in options else "/"),
        socket=unquote(parts.path) or options.get("path", "") if on_socket else "",
        tls={"ssl_cert_reqs": "required"} | tls if encrypted else None,
    )


def kombu_amqp(scheme: str, text: str) -> ServerAddress:
    """Read the URL of a RabbitMQ server as Celery's worker does.

    py-amqp takes the options of TLS from ``broker_use_ssl`` only; in the plan they stand in the URL.
    """
    parts = _semantics_of_http(text)
    options = dict(parse_qsl(parts.query))
    tls = _tls(options)
    _require_known(options, _KOMBU, "Celery")
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": "false"}
    encrypted = scheme == "amqps" or bool(tls)
    return ServerAddress(
        host=unquote(parts.hostname or "") or "localhost",
        port=parts.port or (AMQPS_PORT if encrypted else AMQP_PORT),
        user=unquote(parts.username or "") or "guest",
        password=unquote(parts.password or "") or "guest",
        virtual_host=_path(parts) or "/",
        tls=verified | tls if encrypted else None,
    )


def pika(scheme: str, text: str) -> ServerAddress:
    """Read the URL of a RabbitMQ server as Dramatiq's worker does."""
    if scheme not in ("amqp", "amqps"):
        raise UnreadableUrlError(f"pika does not read {scheme}://", "write amqp:// or amqps://")
    parts = _semantics_of_http(text)
    options = dict(parse_qsl(parts.query))
    tls = _tls(options)  # as a plan has them; pika itself reads ssl_options
    _require_known(options, _PIKA, "Dramatiq")
    if parts.username is not None and not (parts.username and parts.password):
        raise UnreadableUrlError("pika takes no account without a user or a password", "write user:password@")
    virtual_host = unquote(parts.path.split("/")[1]) if len(parts.path) > 1 else "/"
    if not virtual_host or parts.path.count("/") > 1:
        what = "pika reads a path as the virtual host only up to its second /"
        raise UnreadableUrlError(what, "write / in its name as %2F; for the virtual host / write nothing, or /%2F")
    encrypted = scheme == "amqps" or "ssl_options" in options
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": "true"}
    return ServerAddress(
        host=parts.hostname or "localhost",
        port=parts.port or (AMQPS_PORT if scheme == "amqps" else AMQP_PORT),
        user=unquote(parts.username or "guest"),
        password=unquote(parts.password or "guest"),
        virtual_host=virtual_host,
        tls=verified | _pika_tls(options.get("ssl_options", "{}")) | tls if encrypted else None,
    )


#: By kind of server: the function for each system.
REDIS_READINGS = {System.CELERY: kombu_redis, System.DRAMATIQ: redis_py}
AMQP_READINGS = {System.CELERY: kombu_amqp, System.DRAMATIQ: pika}


def _semantics_of_http(text: str) -> SplitResult:
    return urlsplit(f"http{text[text.index('://') :]}")


def _path(parts: SplitResult) -> str:
    return unquote(parts.path.removeprefix("/"))


def _database(name: str, where: str) -> int:
    try:
        number = int(name or 0)
    except ValueError:
        number = -1
    if number < 0:
        raise UnreadableUrlError(f"the database is no number ({where}…)", "write its number, such as /0")
    return number


def _require_known(options: Mapping[str, str], known: _Kinds, system: str) -> None:
    if unknown := sorted(options.keys() - known.keys()):
        what = f"{system} does not read the option {', '.join(unknown)} of a URL"
        raise UnreadableUrlError(what, "leave it out; a database or a virtual host is the URL's path")
    for name, value in options.items():
        try:
            known[name](value)
        except ValueError:
            raise UnreadableUrlError(f"the option {name} is no number", "correct it") from None


def _tls(options: dict[str, str], falsehoods: tuple[str, ...] = ("false",)) -> dict[str, str]:
    """Take the options of TLS out, with the values that redis-py has for them."""
    found = {name: options.pop(name) for name in list(options) if name.startswith("ssl_") and name != "ssl_options"}
    if given := found.get("ssl_cert_reqs", ""):
        found["ssl_cert_reqs"] = _CERT_REQS.get(given, given)
        if found["ssl_cert_reqs"] not in _CERT_REQS.values():
            raise UnreadableUrlError("ssl_cert_reqs is none of its values", "write none, optional or required")
    if given := found.get("ssl_check_hostname", ""):
        found["ssl_check_hostname"] = "false" if given.lower() in falsehoods else "true"
    return found


def _pika_tls(text: str) -> dict[str, str]:
    try:
        given = ast.literal_eval(text)
        return {
            option: str(given[name])
            for name, option in (
                ("ca_certs", "ssl_ca_certs"),
                ("cafile", "ssl_ca_certs"),
                ("certfile", "ssl_certfile"),
                ("keyfile", "ssl_keyfile"),
            )
            if given.get(name)
        }
    except (ValueError, SyntaxError, AttributeError):
        raise UnreadableUrlError("ssl_options is no dict", "correct it") from None

"""One RabbitMQ broker and virtual host: connections, what its queues hold, and its errors as ours.

py-amqp is used because the workers use it, too: pika can't write a float into a header and truncates those that it
reads (pika/data.py), and Celery's ``timelimit`` header holds floats.

Source: amqp/connection.py, amqp/channel.py, amqp/exceptions.py; rabbit_channel.erl (a passive declaration counts the
ready messages and the consumers, not what is unacknowledged).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import amqp

from migrator.brokers.rabbitmq.frame_buffer import buffered
from migrator.errors import InterruptedRunError, RefusedError, UnreachableError
from migrator.wire.broker_url import BrokerUrl, read_broker_url

CONNECT_TIMEOUT_S = 5.0
#: The longest wait for one answer; the server blocks publishers while it is short of memory or disk.
ANSWER_TIMEOUT_S = 30.0
#: Errors that mean that the connection is gone and the outcome of the last command is unknown.
CONNECTION_ERRORS = (amqp.exceptions.ConnectionError, amqp.exceptions.RecoverableChannelError, OSError)
ERRORS = (amqp.AMQPError, OSError)


class BlockedError(UnreachableError):
    """The server accepts nothing from publishers: it is short of memory or disk. Connecting again won't help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """What a passive declaration returns."""

    ready: int
    consumers: int


class RabbitmqServer:
    """Opens connections to one virtual host.

    Args:
        url: As :func:`migrator.plan.placeholders.endpoint_url` returns it; the servers of a list are tried in turn.
    """

    def __init__(self, url: str) -> None:
        read = read_broker_url(url)
        self.where = read.where
        self.virtual_host = read.virtual_host
        self._servers = (read, *read.others)

    def open(self, *, heartbeat_s: int = 0) -> Any:
        """Return a new connection, to the first server that answers; py-amqp's errors propagate."""
        *first, last = self._servers
        for server in first:
            with suppress(OSError):
                return self._open(server, heartbeat_s)
        return self._open(last, heartbeat_s)

    def _open(self, server: BrokerUrl, heartbeat_s: int) -> Any:
        connection: Any = amqp.Connection(
            host=f"{server.host}:{server.port}",
            userid=server.user,
            password=server.password,
            virtual_host=server.virtual_host,
            ssl=tls_options(server) or False,
            login_method="PLAIN",
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
            heartbeat=heartbeat_s,
            client_properties={"connection_name": "migrator"},
            on_blocked=lambda reason: setattr(connection, "blocked_because", str(reason)),
            on_unblocked=lambda: setattr(connection, "blocked_because", ""),
        )
        connection.connect()
        return buffered(connection, answer_within_s=ANSWER_TIMEOUT_S)

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Yield a connection for the length of a ``with`` block and turn its errors into ours.

        Raises:
            UnreachableError: The server can't be reached.
            RefusedError: It refuses.
        """
        with self.translated():
            connection = self.open()
            try:
                yield connection
            finally:
                with suppress(*ERRORS):
                    connection.close()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn py-amqp's errors into ours."""
        try:
            yield
        except ERRORS as error:
            raise failure(self.where, error) from error

    def identity(self, connection: Any) -> str:
        """Return what distinguishes this broker and virtual host from any other."""
        properties = connection.server_properties
        return f"rabbitmq:{properties.get('cluster_name', self.where)}{self.virtual_host}"


def tls_options(server: BrokerUrl) -> dict[str, Any]:
    """Return the options of TLS as py-amqp, and Celery's ``broker_use_ssl``, have them; none without TLS."""
    if server.tls is None:
        return {}
    options: dict[str, Any] = {"cert_reqs": ssl.VerifyMode[f"CERT_{server.tls['ssl_cert_reqs'].upper()}"]}
    files = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
    options |= {name: server.tls[given] for given, name in files.items() if given in server.tls}
    checks = server.tls["ssl_check_hostname"] == "true" and options["cert_reqs"] is not ssl.CERT_NONE
    return options | ({"server_hostname": server.host} if checks else {})


@contextmanager
def detect_blocked(connection: Any, where: str) -> Iterator[None]:
    """Distinguish a server that is slow or away from one that has an alarm.

    Raises:
        BlockedError: It has announced that it accepts nothing, and has not revoked that within the time for one answer.
    """
    try:
        yield
    except TimeoutError as error:
        reason = getattr(connection, "blocked_because", "")
        if not reason:
            raise
        what = f"the server has accepted nothing for {ANSWER_TIMEOUT_S:g} s: it is short of memory or disk"
        remedy = "free memory or disk there (rabbitmqctl status), then run the same command again"
        raise BlockedError(where, what, found=reason, remedy=remedy) from error


def count(connection: Any, queue: str) -> QueueCount | None:
    """Return what a queue holds; None if the queue does not exist."""
    channel = connection.channel()
    try:
        _, ready, consumers = channel.queue_declare(queue=queue, passive=True)
    except amqp.exceptions.NotFound:
        return None
    channel.close()
    return QueueCount(ready=ready, consumers=consumers)


def failure(where: str, error: Exception) -> UnreachableError | RefusedError | InterruptedRunError:
    """Return an error of py-amqp as one of ours."""
    text = str(error)[:300]
    if isinstance(error, amqp.exceptions.ResourceLocked):
        remedy = (
            "let that run finish, its lock is released with its connection; if it hangs on another machine, name the "
            "management plugin in RABBITMQ_MANAGEMENT_URL and take its lock with --takeover"
        )
        return RefusedError(where, "another run holds the lock", found=text, remedy=remedy)
    if isinstance(error, amqp.exceptions.AccessRefused):
        remedy = "correct the user in the broker's URL, or give it its permissions"
        return UnreachableError(where, "the server refuses access", found=text, remedy=remedy)
    if isinstance(error, TimeoutError):
        what = f"the server did not answer within {ANSWER_TIMEOUT_S:g} s"
        remedy = "see whether its memory or disk alarm is on (rabbitmqctl status), then run the same command again"
        return UnreachableError(where, what, found=text, remedy=remedy)
    if isinstance(error, CONNECTION_ERRORS):
        remedy = "start the server, or correct the broker's URL, then run the same command again"
        return UnreachableError(where, "the server can't be reached", found=text, remedy=remedy)
    return RefusedError(where, "the server refused a command", found=text, remedy="see the server's log")

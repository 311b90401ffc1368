"""Talk to Celery workers through their broker: which ones answer, what they consume, stop consuming.

A worker that does not answer is never taken for idle.

Source: celery/app/control.py (with destination and limit a reply comes in milliseconds, without them it always waits
for the whole timeout); celery/app/utils.py (`Settings.broker_url` prefers the environment to the app's own setting);
kombu/connection.py (`default_channel` retries for ever unless the transport options limit it).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from migrator.brokers.rabbitmq.server import tls_options
from migrator.brokers.redis.client import direct_url
from migrator.errors import UnreachableError
from migrator.plan.model import Endpoint
from migrator.plan.placeholders import endpoint_url
from migrator.redaction import redact
from migrator.wire.broker_url import BrokerKind, read_broker_url

REPLY_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a Celery worker says about itself."""

    node: str
    pid: int
    queues: tuple[str, ...]
    registered: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A Celery app that only talks to workers, and its only connection: Celery's shared pool would stay open."""

    app: Any
    connection: Any


@contextmanager
def control(endpoint: Endpoint, environ: Mapping[str, str]) -> Iterator[Control]:
    """Open a connection for talking to the workers of this broker.

    Raises:
        UnreachableError: The broker does not answer.
    """
    from celery import Celery
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError

    url = direct_url(endpoint_url(endpoint, environ))
    read = read_broker_url(url)
    app = Celery("migrator-control", broker=url, set_as_current=False)
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
    if read.kind is BrokerKind.RABBITMQ:
        # kombu hands options of TLS in a URL on under names that py-amqp does not know.
        url = ";".join(server.text.partition("?")[0] for server in (read, *read.others))
        app.conf.update(broker_use_ssl=tls_options(read) or False)
    else:
        options |= {"socket_timeout": 5, "socket_connect_timeout": 3}
        options |= {"global_keyprefix": endpoint.key_prefix} if endpoint.key_prefix else {}
        options |= {"sep": endpoint.priority_separator, "priority_steps": list(endpoint.priority_steps)}
    # Set separately: CELERY_BROKER_URL in our own environment would override the app's plain `broker`.
    app.conf.update(broker_read_url=url, broker_write_url=url)
    app.conf.update(broker_transport_options=options, broker_connection_timeout=3)
    try:
        with app.connection_for_write(url) as connection:
            yield Control(app=app, connection=connection)
    except (OperationalError, RedisError, OSError) as error:
        # kombu converts errors while connecting; a server that goes away later raises the client's own error.
        raise UnreachableError(
            redact(url), "the broker does not answer", found=redact(str(error)), remedy="start it or correct the URL"
        ) from error
    finally:
        app.close()


def ask(control: Control, node: str, command: str, *, timeout_s: float = REPLY_TIMEOUT_S, **arguments: Any) -> Any:
    """Return one worker's reply to a control command; None if it is silent."""
    replies = control.app.control.broadcast(
        command,
        arguments=arguments,
        destination=[node],
        reply=True,
        timeout=timeout_s,
        limit=1,
        connection=control.connection,
    )
    for reply in replies or ():
        if node in reply:
            return reply[node]
    return None


def ask_until_answered(control: Control, node: str, command: str, *, within_s: float, **arguments: Any) -> Any:
    """Ask repeatedly until a worker replies; None if it never does.

    Commands reach only workers that listen at that moment: one that is just reconnecting misses them.
    """
    end = time.monotonic() + within_s
    while True:
        left_s = end - time.monotonic()
        reply = ask(control, node, command, timeout_s=max(0.1, min(REPLY_TIMEOUT_S, left_s)), **arguments)
        if reply is not None or left_s <= 0:
            return reply


def pid_of(control: Control, node: str, *, timeout_s: float = REPLY_TIMEOUT_S) -> int | None:
    """Return the pid behind a node name; None if it is silent."""
    stats = ask(control, node, "stats", timeout_s=timeout_s)
    return int(stats["pid"]) if stats else None


def node_facts(control: Control, node: str, *, timeout_s: float = REPLY_TIMEOUT_S) -> NodeFacts | None:
    """Return what a worker says about itself; None unless it answers every request, the first within that time."""
    pid = pid_of(control, node, timeout_s=timeout_s)
    queues = ask(control, node, "active_queues") if pid is not None else None
    registered = ask(control, node, "registered") if queues is not None else None
    if pid is None or queues is None or registered is None:
        return None
    names = frozenset(str(name).split(" ", 1)[0] for name in registered)
    return NodeFacts(node=node, pid=pid, queues=tuple(queue["name"] for queue in queues), registered=names)


def cancel_consumers(control: Control, node: str, *, timeout_s: float) -> tuple[str, ...]:
    """Make a worker stop consuming all its queues; returns their names.

    Raises:
        UnreachableError: It did not confirm.
    """
    queues = ask_until_answered(control, node, "active_queues", within_s=timeout_s)
    if queues is None:
        raise _silent(node, "active_queues", timeout_s)
    names = tuple(queue["name"] for queue in queues)
    for name in names:
        reply = ask_until_answered(control, node, "cancel_consumer", within_s=timeout_s, queue=name)
        if not reply or "ok" not in reply:
            raise _silent(node, f"cancel_consumer {name}", timeout_s)
    return names


def add_consumers(control: Control, node: str, queues: tuple[str, ...], *, timeout_s: float) -> None:
    """Let a worker consume queues again; the reverse of :func:`cancel_consumers`."""
    for name in queues:
        reply = ask_until_answered(control, node, "add_consumer", within_s=timeout_s, queue=name)
        if not reply or "ok" not in reply:
            raise _silent(node, f"add_consumer {name}", timeout_s)


def unfinished(control: Control, node: str) -> int | None:
    """Return how many tasks a worker runs or has reserved to run now; None if it is silent.

    Tasks with an ETA don't count: they may be days away, and are returned to the queue on SIGTERM.
    """
    active = ask(control, node, "active")
    reserved = ask(control, node, "reserved") if active is not None else None
    return None if active is None or reserved is None else len(active) + len(reserved)


def node_of(control: Control, pids: Iterable[int]) -> str:
    """Return the name of the worker that reports one of these pids; empty if none does.

    We don't choose the name of a worker that we did not start. Pids repeat from machine to machine, so a worker whose
    name ends in our host is preferred; another one is taken only if it is the only one.
    """
    wanted = set(pids)
    nodes = [node for node, pid in all_nodes(control).items() if pid in wanted]
    here = [node for node in nodes if node.rpartition("@")[2] == socket.gethostname()]
    return here[0] if here else nodes[0] if len(nodes) == 1 else ""


def all_nodes(control: Control, *, timeout_s: float = REPLY_TIMEOUT_S) -> dict[str, int]:
    """Return node name and pid of every worker that answers within the timeout."""
    replies = ask_all(control, "stats", timeout_s=timeout_s)
    return {node: int(stats["pid"]) for node, stats in replies.items() if "pid" in stats}


def ask_all(control: Control, command: str, *, timeout_s: float = REPLY_TIMEOUT_S, **arguments: Any) -> dict[str, Any]:
    """Return the replies that come within the timeout, by node name."""
    replies = control.app.control.broadcast(
        command, arguments=arguments, reply=True, timeout=timeout_s, connection=control.connection
    )
    return {node: answer for reply in replies or () for node, answer in reply.items()}


def _silent(node: str, command: str, timeout_s: float) -> UnreachableError:
    return UnreachableError(
        f"worker {node}",
        f"did not answer {command} within {timeout_s:g} s",
        remedy="see its log; a silent worker is not taken for idle",
    )

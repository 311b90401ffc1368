"""Does the unified app use the broker that messages are transferred to, and its queues as they are there?

An app without a broker of its own uses Celery's default, RabbitMQ on this machine, and says nothing. A queue there that
was declared with other arguments than the app declares is refused to its workers (406).
Source: ``kombu.Connection.info`` (a port and a virtual host are always given).
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from migrator.brokers.connect import is_on_rabbitmq
from migrator.brokers.rabbitmq.declarations import read_declarations
from migrator.brokers.rabbitmq.management import URL_VARIABLE, Management
from migrator.brokers.rabbitmq.queues import as_text
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.errors import UnreachableError
from migrator.plan.placeholders import endpoint_url
from migrator.report import Finding
from migrator.steps.protocol import Context, error
from migrator.wire.broker_url import SENTINEL, BrokerKind, broker_kind, read_broker_url


def broker_findings(context: Context, settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield an error if the probed app's broker is another server, database or virtual host than the plan's."""
    given, planned = settings.get("broker"), read_broker_url(endpoint_url(context.plan.unified, context.environ))
    if given is None or planned.socket:
        return
    kind = broker_kind(f"{given['transport']}://")
    sentinels = given["transport"] == SENTINEL
    if kind is None or (sentinels and planned.scheme != SENTINEL):  # the plan names their master itself
        return
    same = kind is planned.kind and given["port"] == planned.port and _share(given["host"], planned.host)
    if same and _space(kind, str(given["virtual_host"])) == _space(kind, planned.virtual_host or str(planned.database)):
        return
    yield error(
        "BROKER-OTHER",
        "settings",
        "the unified app uses another broker than the one that messages are transferred to",
        found=f"it uses {given['transport']}://{given['host']}:{given['port']}/{_space(kind, given['virtual_host'])}, "
        f"the plan has {planned.where}",
        remedy="correct CELERY_BROKER_URL, or `broker` under [unified]",
    )


def queue_findings(context: Context, queues: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield an error for each unified queue on RabbitMQ that is there in another form than the app declares it in.

    Args:
        context: Plan and environment.
        queues: How the app declares each queue, by name.
    """
    plan, url = context.plan, context.environ.get(URL_VARIABLE, "")
    if not is_on_rabbitmq(plan.unified, context.environ):
        return
    server = RabbitmqServer(endpoint_url(plan.unified, context.environ))
    try:
        found = read_declarations(server, Management(url) if url else None, plan.unified)
    except UnreachableError:  # the guard of the brokers says so
        return
    for there in found:
        declared = queues.get(there.name)
        if declared is None or "?" in there.arguments:
            continue
        given, wanted = _told_apart(there.arguments), _told_apart(declared["arguments"])
        if given != wanted or there.auto_delete is not declared["auto_delete"]:
            yield error(
                "BROKER-QUEUE-ARGUMENTS",
                f"{server.where} {there.name}",
                "the unified queue has other arguments than the unified app declares; the server refuses that (406)",
                found=f"{as_text(given)}; the app has {as_text(wanted)}",
                remedy="delete the queue while it is empty, and let the workers declare it",
            )


def _told_apart(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes two declarations different; a classic queue is one without a type, too."""
    return {name: value for name, value in arguments.items() if (name, value) != ("x-queue-type", "classic")}


def _space(kind: BrokerKind, name: str) -> str:
    """Return a virtual host or the number of a database; without one it is the default."""
    return str(name).strip("/") or ("/" if kind is BrokerKind.RABBITMQ else "0")


def _share(one: str, other: str) -> bool:
    """Tell whether two names are, or may be, names of one machine."""
    return one == other or bool(_addresses(one) & _addresses(other))


def _addresses(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}

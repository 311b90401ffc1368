"""A virtual host of our own on the operator's server for a rehearsal: created like the real one, removed afterwards.

It is created through the management plugin, by a user that may do so (tag ``administrator``). It gets whatever affects
messages: the real one's default queue type, its policies, the arguments of the real queues, and each user's
permissions. Exchanges, bindings, shovels and federation are not copied: nothing leaves it.

Its name begins with ``migrator-rehearsal-``, and only such a virtual host is ever removed. A run that was killed leaves
it behind; the next run reports it.

Source: the plugin's HTTP API; rabbit_vhost.erl (a virtual host takes its queues and connections with it).
"""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from migrator.brokers.rabbitmq.management import ForbiddenError, Management
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.errors import RefusedError, UnreachableError
from migrator.wire.broker_url import read_broker_url

PREFIX = "migrator-rehearsal-"
#: A copy is in one queue at a time, but the server keeps what it has written for a while; each message has a head.
_FACTOR, _HEAD_BYTES = 3, 2048
#: The share of the free space that copies may take.
_SHARE = 0.5
_POLICIES = ("policies", "operator-policies")
_COPIED = ("pattern", "definition", "priority", "apply-to")


def require_same_server(management: Management, server: RabbitmqServer) -> None:
    """Refuse a management plugin of another server.

    Raises:
        RefusedError: It belongs to another one.
    """
    named = (management.ask("GET", "overview") or {}).get("cluster_name")
    with server.connected() as connection:
        cluster = connection.server_properties.get("cluster_name")
    if cluster and named != cluster:
        what = "the management plugin belongs to another server than the broker's URL"
        found = f"{named} and {cluster}"
        raise RefusedError(management.where, what, found=found, remedy="correct RABBITMQ_MANAGEMENT_URL")


def require_room(management: Management, *, messages: int, size_bytes: int) -> None:
    """Refuse copies that could set off the server's alarms, which would block publishers in production.

    Raises:
        RefusedError: An alarm is on, or the copies would take too much of the free space.
    """
    need = _FACTOR * size_bytes + _HEAD_BYTES * messages
    remedy = "name a scratch server with --rabbitmq, or rehearse with --no-waiting"
    for node in management.ask("GET", "nodes") or ():
        if node.get("mem_alarm") or node.get("disk_free_alarm"):
            what = "the server has an alarm: it is short of memory or disk"
            raise RefusedError(f"rabbitmq node {node.get('name')}", what, remedy=remedy)
        for free, what in (
            (_difference(node, "mem_limit", "mem_used"), "memory"),
            (_difference(node, "disk_free", "disk_free_limit"), "disk"),
        ):
            if free is not None and need > free * _SHARE:
                raise RefusedError(
                    f"rabbitmq node {node.get('name')}",
                    f"copies of {messages} waiting messages could set off its {what} alarm, which blocks producers",
                    found=f"about {need >> 20} MiB, {max(0, free) >> 20} MiB to the alarm",
                    remedy=remedy,
                )


def left_behind(management: Management) -> tuple[str, ...]:
    """Return the virtual hosts of rehearsals that did not clean up, or are still running."""
    names = (str(host["name"]) for host in management.ask("GET", "vhosts") or ())
    return tuple(sorted(name for name in names if name.startswith(PREFIX)))


def create(management: Management, server: RabbitmqServer, *, plan_name: str, users: Iterable[str]) -> str:
    """Create a virtual host like that of ``server`` and return its name.

    Raises:
        RefusedError: The plugin's user may not do that.
    """
    name = f"{PREFIX}{re.sub(r'[^A-Za-z0-9_.-]+', '-', plan_name)[:40]}-{secrets.token_hex(4)}"
    body = {"description": f"migrator rehearse on {socket.gethostname()}; may be deleted when none runs there"}
    try:
        real = management.ask("GET", "vhosts", server.virtual_host) or {}
        if real.get("default_queue_type") not in (None, "undefined"):
            body["default_queue_type"] = real["default_queue_type"]
        management.ask("PUT", "vhosts", name, body=body)
    except ForbiddenError as error:
        raise RefusedError(
            management.where,
            "its user may not create a virtual host to rehearse in",
            found=error.found,
            remedy="give it the tag `administrator` (rabbitmqctl set_user_tags) for the rehearsal, or name an empty "
            "virtual host with --rabbitmq",
        ) from error
    try:
        _furnish(management, server.virtual_host, name, users)
    except BaseException:
        with suppress(UnreachableError):
            remove(management, name)
        raise
    return name


def remove(management: Management, name: str) -> None:
    """Remove a virtual host of ours with everything in it; one that is gone is no error.

    Raises:
        RefusedError: It was not created by a rehearsal.
    """
    if not name.startswith(PREFIX):
        raise RefusedError(f"virtual host {name}", "does not belong to a rehearsal, so it is not removed")
    management.ask("DELETE", "vhosts", name)


def moved_to(url: str, virtual_host: str) -> str:
    """Return a broker's URL with another virtual host; of a list with ``;`` only the first URL is kept."""
    return read_broker_url(url).with_virtual_host(virtual_host)


def _furnish(management: Management, real: str, name: str, users: Iterable[str]) -> None:
    for user in dict.fromkeys(users):
        granted = management.ask("GET", "permissions", real, user) or {}
        rights = {right: granted.get(right, ".*") for right in ("configure", "write", "read")}
        management.ask("PUT", "permissions", name, user, body=rights)
    for kind in _POLICIES:
        for policy in management.ask("GET", kind, real) or ():
            if any(part.startswith("federation") for part in policy.get("definition", {})):
                continue
            body = {part: policy[part] for part in _COPIED if part in policy}
            management.ask("PUT", kind, name, str(policy["name"]), body=body)


def _difference(node: Mapping[str, Any], limit: str, used: str) -> int | None:
    try:
        return int(node[limit]) - int(node[used])
    except (KeyError, TypeError, ValueError):
        return None

"""What only RabbitMQ's management plugin reports: unacknowledged messages, arguments and the type of a queue.

The plugin's address is not part of an AMQP URL, so it is used only where ``RABBITMQ_MANAGEMENT_URL`` names it. Its
counts are some seconds old.

Source: the plugin's HTTP API, ``GET /api/queues/<virtual host>/<queue>``.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from migrator.errors import UnreachableError
from migrator.redaction import redact_url

URL_VARIABLE = "RABBITMQ_MANAGEMENT_URL"
TIMEOUT_S = 5.0


class ForbiddenError(UnreachableError):
    """The plugin answers, but refuses: a wrong password, or a user without the necessary tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDetails:
    """One queue as the plugin knows it."""

    unacknowledged: int
    #: ``classic`` or ``quorum``.
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Management:
    """A client of the management plugin.

    Args:
        url: ``http://user:password@host:15672``.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.where = redact_url(url)
        port = f":{parts.port}" if parts.port else ""
        self._base = f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self._credentials = b64encode(f"{user}:{password}".encode()).decode()

    def queue(self, virtual_host: str, name: str) -> QueueDetails | None:
        """Return what the plugin knows about a queue; None if the queue does not exist.

        Raises:
            UnreachableError: The plugin does not answer.
        """
        facts = self.ask("GET", "queues", virtual_host, name)
        if facts is None:
            return None
        arguments = dict(facts.get("arguments") or {})
        policy = (facts.get("effective_policy_definition") or {}).get("consumer-timeout")
        if policy is not None:
            arguments.setdefault("x-consumer-timeout", policy)
        return QueueDetails(
            unacknowledged=int(facts.get("messages_unacknowledged") or 0),
            kind=str(facts.get("type", "classic")),
            arguments=arguments,
        )

    def close_owner(self, virtual_host: str, name: str) -> str:
        """Close the connection that an exclusive queue belongs to; return its name, empty if there is none.

        Raises:
            UnreachableError: The plugin does not answer, or does not allow it.
        """
        facts = self.ask("GET", "queues", virtual_host, name) or {}
        owner = str((facts.get("owner_pid_details") or {}).get("name") or "")
        if owner:
            self.ask("DELETE", "connections", owner)
        return owner

    def ask(self, method: str, *path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the plugin's answer; None if the object does not exist.

        Raises:
            ForbiddenError: It does not allow that.
            UnreachableError: It does not answer.
        """
        address = "/".join((self._base, "api", *(quote(part, safe="") for part in path)))
        headers = {"Authorization": f"Basic {self._credentials}", "X-Reason": "migrator: another run takes over"}
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(address, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                text = answer.read()
                return json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code in (401, 403):
                remedy = f"correct {URL_VARIABLE}, or give its user the permission"
                what = "the management plugin refuses access"
                raise ForbiddenError(self.where, what, found=str(error), remedy=remedy) from error
            raise self._failure(error) from error
        except (OSError, ValueError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> UnreachableError:
        remedy = f"correct {URL_VARIABLE}, or unset it to run without the plugin"
        return UnreachableError(self.where, "the management plugin does not answer", found=str(error), remedy=remedy)

"""What is the same for the queues of both systems on RabbitMQ; the endpoint says whose messages they hold."""

from __future__ import annotations

from collections.abc import Iterator

from migrator.brokers.protocol import BrokerFacts, Depths, Owner
from migrator.brokers.rabbitmq.browse import count_all, find_owners, scan_all
from migrator.brokers.rabbitmq.management import Management
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.rabbitmq.server_checks import find_facts
from migrator.plan.model import Endpoint
from migrator.wire.message import Message


class RabbitmqBroker:
    """The queues of one endpoint.

    Args:
        endpoint: The endpoint of the plan.
        url: Its URL with the environment filled in.
        management_url: URL of the management plugin; empty if it is not to be used.
    """

    def __init__(self, endpoint: Endpoint, url: str, *, management_url: str = "") -> None:
        self.endpoint = endpoint
        self.server = RabbitmqServer(url)
        self.where = self.server.where
        self.management = Management(management_url) if management_url else None

    def close(self) -> None:
        """Do nothing: each request has a connection of its own."""

    def facts(self) -> BrokerFacts:
        """Ask the server about itself and these queues."""
        return find_facts(self.server, self.management, self.endpoint)

    def depths(self) -> Depths:
        """Count the messages by queue and state; what workers hold only with the management plugin."""
        return count_all(self.server, self.management, self.endpoint)

    def owners(self) -> tuple[Owner, ...]:
        """Return one entry for each queue that is consumed."""
        return find_owners(self.server, self.management, self.endpoint)

    def scan(self, *, queue: str | None = None) -> Iterator[Message]:
        """Yield every waiting message; :mod:`migrator.brokers.rabbitmq.browse` says what this does to them."""
        yield from scan_all(self.server, self.management, self.endpoint, queue)

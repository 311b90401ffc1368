"""Choose the broker module for an endpoint by its URL."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing, suppress

from migrator.brokers.protocol import Broker
from migrator.brokers.run_record import RunOwner, RunStore
from migrator.errors import UnreachableError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.wire.broker_url import BrokerKind, broker_kind
from migrator.wire.message import System

_VOLATILE = "BROKER-VOLATILE"


def connect(endpoint: Endpoint, environ: Mapping[str, str]) -> Broker:
    """Return the broker that an endpoint names; it connects on first use.

    Raises:
        UsageError: There is no module for this kind of URL, or it can't be read.
    """
    url = endpoint_url(endpoint, environ)
    if broker_kind(url) is BrokerKind.REDIS:
        if endpoint.system is System.DRAMATIQ:
            from migrator.brokers.redis.dramatiq import DramatiqRedis

            return DramatiqRedis(endpoint, url)
        from migrator.brokers.redis.celery import CeleryRedis

        return CeleryRedis(endpoint, url)
    return _rabbitmq(endpoint, url, environ)


def volatile_servers(plan: Plan, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the Redis servers of a plan that keep nothing on disk; one that does not answer is left out."""
    found: dict[str, None] = {}
    for endpoint in (*plan.legacy, plan.unified):
        if not is_on_rabbitmq(endpoint, environ):
            with suppress(UnreachableError), closing(connect(endpoint, environ)) as broker:
                found |= {finding.where: None for finding in broker.facts().findings if finding.code == _VOLATILE}
    return tuple(found)


def has_rabbitmq(plan: Plan, environ: Mapping[str, str]) -> bool:
    """Say whether an endpoint of the plan is on RabbitMQ."""
    return any(is_on_rabbitmq(endpoint, environ) for endpoint in (*plan.legacy, plan.unified))


def is_on_rabbitmq(endpoint: Endpoint, environ: Mapping[str, str]) -> bool:
    """Say whether an endpoint is on RabbitMQ."""
    return broker_kind(endpoint_url(endpoint, environ)) is BrokerKind.RABBITMQ


def open_run_store(plan: Plan, environ: Mapping[str, str]) -> RunStore:
    """Return the store of a plan, on its unified broker."""
    url = endpoint_url(plan.unified, environ)
    if is_on_rabbitmq(plan.unified, environ):
        from migrator.brokers.rabbitmq.run_store import RabbitmqRunStore

        return RabbitmqRunStore(url, plan.name)
    from migrator.brokers.redis.run_store import RedisRunStore

    return RedisRunStore(url, plan.name)


def read_run(plan: Plan, environ: Mapping[str, str]) -> tuple[RunOwner | None, float]:
    """Return the record of a plan's run, and how many seconds its lease lasts.

    Raises:
        MigratorError: The unified broker does not answer.
    """
    with closing(open_run_store(plan, environ)) as store:
        return store.read()


def _rabbitmq(endpoint: Endpoint, url: str, environ: Mapping[str, str]) -> Broker:
    from migrator.brokers.rabbitmq.management import URL_VARIABLE

    management_url = environ.get(URL_VARIABLE, "")
    if endpoint.system is System.DRAMATIQ:
        from migrator.brokers.rabbitmq.dramatiq import DramatiqRabbitmq

        return DramatiqRabbitmq(endpoint, url, management_url=management_url)
    from migrator.brokers.rabbitmq.celery import CeleryRabbitmq

    return CeleryRabbitmq(endpoint, url, management_url=management_url)

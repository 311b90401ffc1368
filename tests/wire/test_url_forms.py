"""Every form of a broker's URL means to us what the worker's library makes of it, or is refused.

The expectations are what kombu, redis-py and pika say of the same text; what they refuse is refused.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import kombu
import pika
import pytest
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from kombu.transport import redis as kombu_redis

from migrator.brokers.redis.client import client_url
from migrator.errors import UsageError
from migrator.wire.broker_url import BrokerKind, normal_url, read_broker_url
from migrator.wire.message import System
from migrator.wire.url_readings import ServerAddress

REDIS = [
    "redis://",
    "redis:///2",
    "redis://host",
    "redis://host/",
    "redis://host/4",
    "redis://host//4",
    "redis://host/4/",
    "redis://host/4/2",
    "redis://host/%34",
    "redis://host/-1",
    "redis://host/orders",
    "redis://host/0x3",
    "redis://host:0/4",
    "redis://host:7000/4",
    "redis://host:port/4",
    "redis://host:70000/4",
    "REDIS://host/4",
    "redis://HOST/4",
    "redis://:pw@host/4",
    "redis://:p%2Fw%40%3A@host/4",
    "redis://pw@host/4",
    "redis://user:pw@host/4",
    "redis://us%40er:pw@host/4",
    "redis://:@host/4",
    "redis://[::1]:7000/4",
    "redis://[fe80::1]/4",
    "redis://[::1/4",
    "redis://host/4?db=5",
    "redis://host?db=5",
    "redis://host?db=orders",
    "redis://host?virtual_host=5",
    "redis://host/4?socket_timeout=3&health_check_interval=9",
    "redis://host/4?socket_timeout=soon",
    "redis://host/4?heartbeat=3",
    "redis://?host=there&port=7000&db=3",
    "redis://host/4?password=pw&username=me",
    "redis://host/4?ssl_cert_reqs=none",
    "rediss://host/4",
    "rediss://host/4?ssl_cert_reqs=none",
    "rediss://host/4?ssl_cert_reqs=CERT_NONE",
    "rediss://host/4?ssl_cert_reqs=sometimes",
    "rediss://host/4?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem",
    "rediss://host/4?ssl_check_hostname=false&ssl_cert_reqs=CERT_REQUIRED",
    "rediss://host/4?ssl_check_hostname=no",
    "unix:///run/redis.sock",
    "unix:///run/Redis.sock?db=4",
    "unix://user:pw@/run/redis.sock?db=4",
    "unix:///run/redis%20a.sock?db=4",
    "redis+socket:///run/redis.sock",
    "redis+socket:///run/Redis.sock?virtual_host=4",
    "redis+socket:///run/redis.sock?virtual_host=/4",
    "redis+socket:///run/redis.sock?virtual_host=orders",
    "redis+socket://user:p%2Fw@/run/redis.sock?virtual_host=4",
    "redis://host/4 ",
    "redis://host/4#here",
]
AMQP = [
    "amqp://",
    "amqp://host",
    "amqp://host/",
    "amqp://host//",
    "amqp://host/%2F",
    "amqp://host/orders",
    "amqp://host/%2Forders",
    "amqp://host/shop/orders",
    "amqp://host:5673/orders",
    "amqp://host:0x1/orders",
    "AMQP://host/orders",
    "amqp://user:pw@host/orders",
    "amqp://user:p%2Fw%40@host/orders",
    "amqp://user@host/orders",
    "amqp://:pw@host/orders",
    "amqp://user:@host/orders",
    "amqp://[::1]:5673/orders",
    "amqp://host/orders?heartbeat=30",
    "amqp://host/orders?heartbeat=often",
    "amqp://host/orders?connection_attempts=3&retry_delay=2",
    "amqp://host/orders?vhost=other",
    "amqp://host/orders?login_method=PLAIN",
    "amqps://host/orders",
    "amqps://host:5679/orders",
    "pyamqp://host/orders",
    "amqp://one/orders;amqp://two:5673/orders",
    "amqp://one/orders;amqp://two/others",
]
TRICKS = [
    " redis://host/4",
    "rediss+socket:///run/redis.sock",
    "kafka://host",
    "host:6379",
    "",
    "redis:host",
    "://",
    "redis://a/1;redis://b/1",
    ";",
]


def of_celery(url: str) -> ServerAddress:
    connection = kombu.Connection(url)
    if connection.transport_cls in ("redis", "rediss"):
        channel = object.__new__(kombu_redis.Channel)
        channel.connection = connection.transport
        given = channel._connparams()
        kind = given.pop("connection_class")
        return of_redis(kind, {name: value for name, value in given.items() if value is not None})
    options = connection.transport.default_connection_params
    client = connection.transport.client
    for name, default in options.items():
        if not getattr(client, name, None):
            setattr(client, name, default)
    return ServerAddress(
        host=client.hostname,
        port=client.port,
        user=client.userid,
        password=client.password,
        virtual_host=client.virtual_host,
        # py-amqp verifies with PROTOCOL_TLS_CLIENT, and takes no host's name to compare.
        tls={"ssl_cert_reqs": "required", "ssl_check_hostname": "false"} if client.ssl else None,
    )


def of_dramatiq(url: str) -> ServerAddress:
    if "amqp" in url.lower():
        given = RabbitmqBroker(url=url, middleware=[]).parameters
        first = given[0] if isinstance(given, list) else given
        assert isinstance(first, pika.URLParameters)
        return ServerAddress(
            host=first.host,
            port=first.port,
            user=first.credentials.username,
            password=first.credentials.password,
            virtual_host=first.virtual_host,
            tls={"ssl_cert_reqs": "required", "ssl_check_hostname": "true"} if first.ssl_options else None,
        )
    pool = RedisBroker(url=url, middleware=[]).client.connection_pool
    return of_redis(pool.connection_class, pool.connection_kwargs)


def of_redis(kind: type[Any], given: dict[str, Any]) -> ServerAddress:
    """Return what a connection of that class would use."""
    given = {name: value for name, value in given.items() if name not in ("max_connections", "retry_on_timeout")}
    one = kind(**given)
    on_socket = isinstance(one, redis.UnixDomainSocketConnection)
    tls = None
    if isinstance(one, redis.SSLConnection):
        tls = {"reqs": ssl.VerifyMode(one.cert_reqs).name, "host": one.check_hostname}
        tls |= {"ca": one.ca_certs, "cert": one.certfile, "key": one.keyfile}
    return ServerAddress(
        host="localhost" if on_socket else one.host.replace("127.0.0.1", "localhost"),
        port=0 if on_socket else one.port,
        user=one.username or "",
        password=one.password or "",
        database=one.db or 0,
        socket=one.path if on_socket else "",
        tls=tls,  # type: ignore[arg-type]
    )


THEIRS = {System.CELERY: of_celery, System.DRAMATIQ: of_dramatiq}


def ours(url: str, system: System) -> ServerAddress:
    read = read_broker_url(url, system)
    assert read.kind is not None
    if read.kind is BrokerKind.RABBITMQ:
        return read.address
    pool = redis.ConnectionPool.from_url(client_url(normal_url(url, system)))
    return of_redis(pool.connection_class, pool.connection_kwargs)


@pytest.mark.parametrize("system", System)
@pytest.mark.parametrize("url", REDIS + AMQP)
def test_a_url_means_what_the_workers_library_makes_of_it(url: str, system: System) -> None:
    try:
        expected: ServerAddress | str = THEIRS[system](url)
    except Exception as error:  # noqa: BLE001 - whatever keeps a worker from starting
        expected = type(error).__name__
    try:
        found: ServerAddress | str = ours(url, system)
    except UsageError as error:
        assert error.remedy
        assert isinstance(expected, str) or url in READ_IN_PART[system]
        return
    assert found == expected
    assert read_broker_url(normal_url(url, system)).address == read_broker_url(url, system).address


#: Forms that the library takes although it ignores what they say; a plan that has them is refused.
READ_IN_PART = {
    System.CELERY: {"amqp://one/orders;amqp://two/others", "redis://host/-1"},
    System.DRAMATIQ: {
        # redis-py uses database 0.
        "redis://host/orders",
        "redis://host/0x3",
        "redis://host/-1",
        # No virtual host has no name, and pika cuts a path at its second /.
        "amqp://host//",
        "amqp://host/shop/orders",
        "amqp://one/orders;amqp://two/others",
        # RabbitMQ takes neither.
        "amqp://:pw@host/orders",
        "amqp://user:@host/orders",
    },
}


@pytest.mark.parametrize("system", System)
@pytest.mark.parametrize("url", TRICKS)
def test_what_names_no_server_is_of_no_kind_or_refused(url: str, system: System) -> None:
    try:
        assert read_broker_url(url, system).kind is None
    except UsageError as error:
        assert error.remedy


@pytest.mark.parametrize("url", ["redis://host/1", "rediss://host", "amqp://u:p@host//", "amqp://a/v;amqp://b/v"])
def test_a_url_that_means_the_same_to_celery_stays_as_it_is_written(url: str) -> None:
    assert normal_url(url, System.CELERY) == url


def test_a_url_of_dramatiq_is_written_as_celery_reads_it() -> None:
    assert normal_url("unix://:p%2Fw@/run/s?db=3", System.DRAMATIQ) == "redis+socket://:p%2Fw@/run/s?virtual_host=3"
    assert normal_url("rediss://h?db=3", System.DRAMATIQ) == "rediss://h:6379/3?ssl_cert_reqs=required"
    assert normal_url("redis://h/3", System.DRAMATIQ) == "redis://h/3"
    assert normal_url("valkey://h/3", System.CELERY) == "redis://h:6379/3"


def test_no_part_of_a_password_is_in_a_refusal() -> None:
    for url in ("amqp://u:1/ret@host/a/b", "redis://:1?se=cret@h", "redis://:1/cret@h", "amqp://u:1?se=cret@h"):
        for system in System:
            with pytest.raises(UsageError) as refused:
                read_broker_url(url, system)
            assert "ret" not in str(refused.value)


def test_two_texts_of_one_meaning_are_one_address() -> None:
    one, other = read_broker_url("redis://h"), read_broker_url("redis://h:6379/0")
    assert one.address == other.address != replace(one.address, database=1)

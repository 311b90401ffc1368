"""One reading of a broker's URL: what it names, and nothing of its password in anything that is shown."""

from __future__ import annotations

import pytest

from migrator.errors import UsageError
from migrator.redaction import redact, redact_url
from migrator.wire.broker_url import BrokerKind, broker_kind, read_broker_url


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h/0", BrokerKind.REDIS),
        ("rediss://h/0", BrokerKind.REDIS),
        ("valkey://h/0", BrokerKind.REDIS),
        ("unix:///run/redis.sock?db=1", BrokerKind.REDIS),
        ("redis+socket:///run/redis.sock?virtual_host=1", BrokerKind.REDIS),
        ("amqp://h//", BrokerKind.RABBITMQ),
        ("pyamqp://h//", BrokerKind.RABBITMQ),
        ("amqps://h//", BrokerKind.RABBITMQ),
        ("kafka://h", None),
        ("h:6379", None),
    ],
)
def test_the_scheme_says_which_server_it_is(url: str, kind: BrokerKind | None) -> None:
    assert broker_kind(url) is kind


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://", ("localhost", 5672, "guest", "guest", "/")),
        ("amqp://h", ("h", 5672, "guest", "guest", "/")),
        ("amqp://h/", ("h", 5672, "guest", "guest", "/")),
        ("amqps://me:a%2Fb@h/shop%2Forders", ("h", 5671, "me", "a/b", "shop/orders")),
        ("amqp://me:x@a:1/v;amqp://b:2/v", ("a", 1, "me", "x", "v")),
        ("redis://:pw@h:7000/3", ("h", 7000, "", "pw", 3)),
        ("valkeys://h", ("h", 6379, "", "", 0)),
    ],
)
def test_the_parts_are_decoded_and_have_their_defaults(
    url: str, expected: tuple[str, int, str, str, str | int]
) -> None:
    read = read_broker_url(url)
    assert (read.host, read.port, read.user, read.password, read.virtual_host or read.database) == expected


@pytest.mark.parametrize(
    "url", ["amqp://me:pass/word@h:5672/v", "redis://h:port/0", "amqp://me:pa?ss@h", "amqp://[::1"]
)
def test_what_can_not_be_read_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_broker_url(url)
    for part in ("pass", "word", "pa?ss"):
        assert part not in str(refused.value).replace("a password", "")


@pytest.mark.parametrize("password", ["plain", "a%2Fb", "a b", "x:y", "p#q"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    url = f"redis://me:{password}@h:6379/0?password={password}"
    assert password not in redact_url(url)
    assert "secret" not in redact("could not reach amqp://me:secret@h:5672/v")
    assert password not in repr(read_broker_url("redis://h")) + str(redact_url(url))


def test_another_virtual_host_on_the_same_server() -> None:
    assert (
        read_broker_url("amqp://me:x@h:1/v?heartbeat=5").with_virtual_host("a/b") == "amqp://me:x@h:1/a%2Fb?heartbeat=5"
    )

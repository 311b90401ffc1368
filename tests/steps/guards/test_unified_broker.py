"""The unified app's broker is the one that messages are transferred to, whatever it is called."""

from __future__ import annotations

from typing import Any

import pytest
from guard_context import context
from shop import Shop

from migrator.steps.guards import worker_probe
from migrator.steps.guards.unified_broker import broker_findings


def found(shop: Shop, planned: str, **given: Any) -> list[str]:
    settings = {"broker": {"transport": "redis", "host": "localhost", "port": 6379, "virtual_host": "0", **given}}
    here = context(shop, environ={**shop.environ, "SHOP_BROKER": planned})
    return [finding.code for finding in broker_findings(here, settings)]


@pytest.mark.parametrize(
    ("planned", "given"),
    [
        ("redis://localhost:6379/0", {}),
        ("redis://127.0.0.1", {"virtual_host": 0}),
        ("rediss://:secret@localhost:6379/3", {"transport": "rediss", "virtual_host": "3"}),
        ("amqp://localhost/shop", {"transport": "amqp", "port": 5672, "virtual_host": "shop"}),
        ("amqp://localhost", {"transport": "pyamqp", "port": 5672, "virtual_host": "/"}),
        ("redis://redis.internal:6379/0", {"host": "redis.internal"}),
        ("redis://localhost/0", {"transport": "sentinel", "port": 26379}),
    ],
)
def test_the_same_broker_by_any_name(shop: Shop, planned: str, given: dict[str, Any]) -> None:
    assert found(shop, planned, **given) == []


@pytest.mark.parametrize(
    "given",
    [{"virtual_host": "1"}, {"port": 6380}, {"host": "192.0.2.1"}, {"transport": "amqp", "port": 5672}],
)
def test_another_database_port_host_or_kind(shop: Shop, given: dict[str, Any]) -> None:
    assert found(shop, "redis://localhost:6379/0", **given) == ["BROKER-OTHER"]


def test_an_app_that_falls_back_to_the_default(shop: Shop) -> None:
    file = shop.folder / "src/jobs/unified.py"
    file.write_text(file.read_text() + "\napp.conf.broker_url = app.conf.broker_read_url = None\n")
    (finding,) = (item for item in worker_probe.guard(context(shop)).errors if item.code == "BROKER-OTHER")
    assert "it uses amqp://localhost:5672//" in finding.found

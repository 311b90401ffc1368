"""Guard of the brokers: reachable, no eviction, the same clock, enough memory."""

from __future__ import annotations

import time

import pytest
import time_machine
from guard_context import codes, context
from shop import Shop, send_orders

from migrator.embedded_redis import free_port
from migrator.report import Severity
from migrator.steps.guards import brokers, messages, workers


def test_a_broker_that_is_down_is_unreachable_for_every_guard_and_nothing_raises(shop: Shop) -> None:
    down = context(shop, environ={**shop.environ, "SHOP_BROKER": f"redis://me:hunter2@127.0.0.1:{free_port()}/0"})
    assert codes(brokers.guard(down)) == {"BROKER-UNREACHABLE"}
    assert codes(messages.guard(down)) == {"MESSAGES-UNREADABLE"}
    assert codes(workers.guard(down)) == set()
    texts = " ".join(str(finding) for finding in (*brokers.guard(down).findings, *messages.guard(down).findings))
    assert "hunter2" not in texts


def test_a_server_that_throws_queues_away_is_refused(shop: Shop) -> None:
    with shop.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "BROKER-EVICTION" in codes(brokers.guard(context(shop)))
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("wrong_s", "severity", "found"),
    [
        (0, None, ""),
        (6, Severity.WARNING, "ahead"),
        (3600, Severity.ERROR, "3,600 s ahead"),
        (-3600, Severity.ERROR, "behind"),
    ],
)
def test_a_clock_that_is_not_the_servers(shop: Shop, wrong_s: int, severity: Severity | None, found: str) -> None:
    with time_machine.travel(time.time() + wrong_s, tick=True):
        report = brokers.guard(context(shop))
    findings = [finding for finding in report.findings if finding.code == "CLOCK-SKEW"]
    assert [finding.severity for finding in findings] == ([severity] if severity else []), "each server once"
    assert all(found in finding.found for finding in findings)


def test_too_little_memory_for_the_move_is_refused(shop: Shop) -> None:
    send_orders(shop, 0, 400)
    with shop.redis() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
        try:
            assert codes(brokers.guard(context(shop))) == {"BROKER-MEMORY"}
        finally:
            client.config_set("maxmemory", 0)

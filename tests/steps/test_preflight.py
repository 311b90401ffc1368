"""The preflight as a whole: a healthy system passes it and is left as it is."""

from __future__ import annotations

from guard_context import codes, context
from shop import Shop, send_orders, start_legacy

from migrator.steps.order import STEPS


def test_a_healthy_legacy_system_passes_and_stays_as_it_is(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 8)
    report = STEPS[0].check(context(shop))
    assert codes(report) == set(), [str(finding) for finding in report.errors]
    assert set(report.facts["running"]) == {"old-dramatiq", "old-celery", "old-beat", "old-web"}
    assert report.facts["migrations_open"] == ("0001_initial",)
    assert shop.git("status", "--porcelain") == ""

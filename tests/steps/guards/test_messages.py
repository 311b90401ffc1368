"""Guard of the messages: what would be quarantined, and what is due too late."""

from __future__ import annotations

from dataclasses import replace

from guard_context import codes, context
from shop import Shop

from migrator.report import Severity
from migrator.steps.guards import messages


def test_messages_without_a_successor_are_announced_and_a_far_eta_is_refused(shop: Shop) -> None:
    shop.run("from jobs.old_dramatiq import polish; [polish.send(n) for n in range(3)]")
    report = messages.guard(context(shop))
    assert codes(report) == set()
    assert [finding.what for finding in report.findings if finding.code == "MESSAGES-QUARANTINED"] == [
        "3 will be quarantined"
    ]
    shop.run("from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=7200)")
    assert "ETA-BEYOND-VISIBILITY" in codes(messages.guard(context(shop)))


def test_late_messages_on_rabbitmq_are_not_said_to_be_parked(shop: Shop) -> None:
    """What the transfer counts is the same; what happens to such a message is not."""
    shop.run("from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=7200)")
    installed = replace(shop.plan, project=replace(shop.plan.project, install_package="migrator.tasks"))
    report = messages.guard(context(shop, plan=installed))
    assert codes(report) == set()
    assert "ETA-PARKED" in codes(report, Severity.WARNING)

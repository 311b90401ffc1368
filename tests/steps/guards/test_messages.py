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


def test_whether_late_messages_are_parked_is_asked_from_the_app_and_not_read_from_the_plan(shop: Shop) -> None:
    """A project that installs the package may run its workers with an app of its own, which releases nothing."""
    shop.run("from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=7200)")
    installed = replace(shop.plan, project=replace(shop.plan.project, install_package="migrator.tasks"))
    (finding,) = messages.guard(context(shop, plan=installed)).errors
    assert finding.code == "ETA-BEYOND-VISIBILITY"
    assert "above 7,1" in finding.remedy or "above 7,200 s" in finding.remedy
    app = shop.folder / "src/jobs/unified.py"
    releaser = 'from migrator.tasks.parked import ReleaseParked\napp.steps["consumer"].add(ReleaseParked)\n'
    app.write_text(app.read_text() + releaser)
    report = messages.guard(context(shop))
    assert codes(report) == set()
    assert "ETA-PARKED" in codes(report, Severity.WARNING)

"""The one-way door: closed while anything may still need the way back, and gone through only once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shop import Shop, options

from migrator.errors import ExitCode, RefusedError
from migrator.runner import cutover
from migrator.runner.complete import complete
from migrator.runner.report import RunOutcome, RunReport
from migrator.runner.state import MigrationState
from migrator.wire.message import Side
from migrator.workers.start_stop import stop_side


def codes(report: RunReport) -> set[str]:
    return {finding.code for finding in report.findings}


def test_without_a_cutover_there_is_nothing_to_complete(shop: Shop) -> None:
    report = complete(shop.plan, environ=shop.environ)
    assert (report.outcome, report.exit_code) == (RunOutcome.REFUSED, ExitCode.REFUSED)
    assert codes(report) == {"COMPLETE-NOT-MIGRATED"}


@pytest.mark.acceptance
def test_only_after_the_quiet_time_and_with_nothing_left(shop: Shop) -> None:
    shop.run(
        "from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=1200)\n"
        "from jobs.old_dramatiq import polish; polish.send(2)"
    )
    assert cutover.cutover(shop.plan, environ=shop.environ, options=options()).outcome is RunOutcome.DONE
    stop_side(shop.plan, Side.UNIFIED, environ=shop.environ)
    early = complete(shop.plan, environ=shop.environ)
    assert codes(early) == {"COMPLETE-CARRIED", "COMPLETE-LEFT"}
    (carried,) = [str(finding) for finding in early.findings if finding.code == "COMPLETE-CARRIED"]
    assert "unified queue unified: still holds 1 delayed messages of before the cutover" in carried
    assert any("jobs.pack may go on being retried for 540 s" in note for note in early.notes), early.notes

    # A late producer of legacy messages is noticed, and another cutover takes them over.
    shop.run(
        "import os; from celery import Celery\n"
        "Celery(broker=os.environ['SHOP_BROKER']).send_task('jobs.old_celery.pack_order', (3,))"
    )
    late = [str(finding) for finding in complete(shop.plan, environ=shop.environ).findings]
    what = "celery queue celery: still holds 1 ready messages (jobs.old_celery.pack_order (1))"
    assert any(what in text for text in late), late
    swept = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert (swept.outcome, swept.moved) == (RunOutcome.UNCHANGED, 1)
    assert "jobs.old_celery.pack_order (1)): somebody still sends" in swept.notes[0]
    waits = complete(shop.plan, environ=shop.environ)
    late = [finding.found for finding in waits.findings if finding.code == "COMPLETE-LATE"]
    assert late == ["jobs.old_celery.pack_order (1)"]
    told = cutover.status(shop.plan, environ=shop.environ).quiet
    assert any("jobs.old_celery.pack_order (1)" in text for text in told), told
    shop = replace(shop, plan=replace(shop.plan, cutover=replace(shop.plan.cutover, legacy_aliases_quiet_s=0)))

    # As if a worker had run what was carried; a native message takes its place.
    with shop.redis() as client:
        client.delete("unified", "unified\x06\x163", "unified\x06\x166", "unacked")
        client.lpush("unified", '{"body": "", "headers": {"id": "native", "task": "jobs.pack"}, "properties": {}}')
    report = complete(shop.plan, environ=shop.environ)
    assert codes(report) == {"COMPLETE-LEFT"}, "the message without a successor is still kept back"
    given = options(discard_quarantined=True)
    planned = complete(shop.plan, environ=shop.environ, options=options(discard_quarantined=True, dry_run=True))
    assert planned.outcome is RunOutcome.PLANNED
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.MIGRATED
    report = complete(shop.plan, environ=shop.environ, options=given)
    assert report.outcome is RunOutcome.DONE, report.findings
    with shop.redis() as client:
        assert not client.exists(
            "tqm:kept:legacy:dramatiq", "tqm:runs", "dramatiq:__heartbeats__", "_kombu.binding.celery"
        )
        assert client.llen("unified") == 1, "what waits for unified workers stays"
    assert cutover.status(shop.plan, environ=shop.environ).state is MigrationState.COMPLETED
    with pytest.raises(RefusedError, match="is complete: it can't be rolled back"):
        cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert complete(shop.plan, environ=shop.environ).outcome is RunOutcome.UNCHANGED

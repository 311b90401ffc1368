"""A rehearsal: everything happens on scratch copies, the real system is not touched, and no copy is ever run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from shop import Shop, eventually, green, orders_done, send_orders, start_legacy

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.project.settings_probe import probe
from migrator.rehearsal.rehearse import rehearse
from migrator.steps.protocol import RunOptions


def options_for(plan: Plan, options: RunOptions) -> RunOptions:
    return replace(options, check_proof=green, check_source=green, check_inventory=green)


@pytest.mark.acceptance
def test_cutover_rollback_and_cutover_with_copies_that_are_never_run(shop: Shop) -> None:
    send_orders(shop, 0, 100)
    head = shop.git("rev-parse", "HEAD")
    with shop.redis() as client:
        before = sorted(client.keys())
    rehearsal = rehearse(shop.plan, environ=shop.environ, options_for=options_for)
    assert rehearsal.ok, [(report.failure, report.findings) for report in rehearsal.runs]
    assert rehearsal.messages == 100
    assert [report.moved for report in rehearsal.runs] == [100, 100, 100]
    assert [report.command for report in rehearsal.runs] == ["cutover", "rollback", "cutover"]
    assert all(report.downtime_s is not None for report in rehearsal.runs)
    assert shop.done() == [], "a copy was run"
    assert shop.git("rev-parse", "HEAD") == head
    assert not shop.plan.state_folder.exists()
    with shop.redis() as client:
        assert sorted(client.keys()) == before
    # The real messages still wait for the real run.
    start_legacy(shop, ["old-dramatiq", "old-celery"])
    eventually(lambda: len(orders_done(shop)) == 75)


def test_a_project_that_would_reach_a_real_broker_or_database_is_refused(shop: Shop) -> None:
    settings = shop.folder / "src/jobs/unified.py"
    settings.write_text(settings.read_text().replace('os.environ["SHOP_BROKER"]', f'"{shop.server.url(0)}"'))
    shop.git("commit", "-q", "-a", "-m", "Name a broker literally")
    with pytest.raises(RefusedError, match=r"the project would use a real broker \(redis://127\.0\.0\.1:"):
        rehearse(shop.plan, environ=shop.environ, options_for=options_for)
    shop.git("revert", "--no-edit", "HEAD")
    settings = shop.folder / "src/shop/settings.py"
    real = repr(str(shop.folder / "real.sqlite3"))
    settings.write_text(settings.read_text().replace('os.environ.get("SHOP_DATABASE", ', f"str({real} or "))
    shop.git("commit", "-q", "-a", "-m", "Name a database literally")
    with pytest.raises(RefusedError, match="would use a real database"):
        rehearse(shop.plan, environ=shop.environ, options_for=options_for)
    shop.git("revert", "--no-edit", "HEAD")
    (shop.folder / "src/web.py").write_text("# not committed\n")
    with pytest.raises(RefusedError, match="the source is not committed"):
        rehearse(shop.plan, environ=shop.environ, options_for=options_for)


def test_the_probe_reports_what_the_code_would_use(shop: Shop) -> None:
    reach = probe(shop.plan, environ=shop.environ)
    assert {url.rstrip("/") for url in reach.brokers} == {shop.server.url(0)}
    assert reach.databases == (f"{shop.folder / 'src' / 'shop.sqlite3'}@",)

"""The shop: actors of django-dramatiq and a Celery app of its own, from `inspect` to `complete` under load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from journey import open_journey, redis_that_survives, start_traffic
from shop_journey import DATA, INTERVAL_S, PATHS, Shop, capture, convert, draft
from waiting import wait_until

from migrator.embedded_redis import free_port


@pytest.mark.journey
@pytest.mark.timeout(1200)
def test_from_inspect_to_complete(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    port, database = free_port(), tmp_path / "shop.sqlite3"
    with redis_that_survives(tmp_path) as server:
        environ = {"SHOP_REDIS": server.url().rpartition("/")[0], "SHOP_DB": str(database), "PORT": str(port)}
        with open_journey(tmp_path, DATA / "shop", environ) as journey:
            shop = Shop(journey, database)
            journey.python("manage.py", "migrate", "--verbosity", "0")
            draft(journey)
            # What waits now is captured as cases; what is due in two minutes crosses the cutover.
            capture(journey)
            journey.run("workers", "start", "legacy", "--yes")
            traffic = start_traffic(journey, f"http://127.0.0.1:{port}", PATHS, interval_s=INTERVAL_S)
            shop.wait_for_beats()

            convert(journey)
            journey.run("parity-check", "--accept", "written-anew", codes=(0, 1))
            journey.run("parity-check")
            journey.project.commit()
            journey.run("rehearse", timeout_s=400)
            journey.run("cutover", "--dry-run")
            journey.run("cutover", "--yes", timeout_s=400)
            journey.run("status")
            shop.wait_for_beats()
            journey.run("rollback", "--yes", timeout_s=400)
            shop.wait_for_beats()

            convert(journey)
            journey.run("parity-check")
            journey.run("cutover", "--yes", timeout_s=400)
            shop.wait_for_beats()
            ledger = traffic.stop()
            wait_until(
                lambda: shop.balance(ledger)[1] == 0, timeout_s=120, what=lambda: shop.balance(ledger), pause_s=1
            )
            wait_until(lambda: shop.rows()["orders_event", "later", "confirmation"], timeout_s=180, what="the reminder")
            journey.run("complete", "--name", "shop")
            total, lost, duplicated = shop.balance(ledger)
            assert (lost, duplicated) == (0, 0)
            assert shop.rows()["orders_event", "later", "confirmation"] == 1
            for number in range(10):
                assert shop.rows()["orders_event", f"cmd-{number}", "sync"] == 1
            record_property(
                "journey",
                f"shop: lines by hand {journey.by_hand}, requests {len(ledger)}, rows {total}, lost={lost} "
                f"duplicated={duplicated}, cutover {journey.took_s('cutover'):.0f} s",
            )

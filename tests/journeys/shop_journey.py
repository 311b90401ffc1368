"""The shop on its way: what its requests lead to, and how its own database is counted."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from journey import Journey, open_journey, redis_that_survives, start_traffic
from waiting import wait_until

from migrator.embedded_redis import free_port

DATA = Path(__file__).with_name("shop") / "data"
PATHS = ("/checkout/{ref}/", "/refund/{ref}/", "/reports/{ref}/")
#: Seconds between two requests.
INTERVAL_S = 0.15
#: What each request leads to, by table, suffix of its reference and kind of row.
EXPECTED: Mapping[str, Mapping[tuple[str, str, str], int]] = {
    "checkout": {
        ("orders_event", "", "reserve"): 1,
        ("orders_event", "", "charge"): 1,
        ("orders_event", "", "notify"): 1,
        ("orders_event", "", "confirmation"): 1,
        ("orders_event", "", "resize"): 3,
    },
    "refund": {
        ("orders_event", "", "refund"): 1,
        ("orders_event", "", "webhook"): 1,
        ("orders_event", "", "sync"): 1,
    },
    "reports": {
        ("reports_report", "-chain", "daily"): 1,
        ("reports_report", "-chain", "export"): 1,
        ("reports_report", "-flaky", "daily"): 1,
        ("reports_report", "-flaky", "export"): 1,
        ("reports_report", "-chord", "daily"): 3,
        ("reports_report", "-chord", "merge"): 1,
        ("reports_report", "-ping", "ping"): 1,
    },
}


class Shop:
    """The journey and the shop's own database, in which each task leaves a row."""

    def __init__(self, journey: Journey, database: Path) -> None:
        self.journey = journey
        self.database = database

    def query(self, text: str) -> list[Any]:
        connection = sqlite3.connect(self.database, timeout=30)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def rows(self) -> Counter[tuple[str, str, str]]:
        """Return how many rows there are by table, reference and kind."""
        found: Counter[tuple[str, str, str]] = Counter()
        for table, column in (("orders_event", "what"), ("reports_report", "kind")):
            for ref, kind in self.query(f"SELECT ref, {column} FROM {table}"):
                found[table, ref, kind] += 1
        return found

    def beats(self) -> int:
        """Return how often the short entry of the schedule has fired."""
        return int(self.query("SELECT count(*) FROM reports_report WHERE kind = 'ping' AND ref = ''")[0][0])

    def wait_for_beats(self) -> None:
        """Wait for two firings from now on."""
        before = self.beats()
        wait_until(lambda: self.beats() >= before + 2, what="two firings of the entry of five seconds", timeout_s=60)

    def balance(self, ledger: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
        """Return how many rows there should be, and how many are missing and too many."""
        rows, total, lost, duplicated = self.rows(), 0, 0, 0
        for request in ledger:
            for (table, suffix, kind), expected in EXPECTED[request["path"].split("/")[1]].items():
                found = rows[table, request["ref"] + suffix, kind]
                # Nobody knows what a request has sent whose connection broke; twice is wrong all the same.
                lost += max(0, expected - found) if request["status"] == 200 else 0
                duplicated += max(0, found - expected)
                total += expected if request["status"] == 200 else 0
        return total, lost, duplicated


def draft(journey: Journey) -> None:
    """Draft the plan, decide what it leaves open, and write the tasks that are written anew."""
    assert "rundramatiq" in journey.run("inspect")
    shutil.copy(DATA / "unified_tasks.py", journey.project.folder / "shop" / "unified_tasks.py")
    journey.run("init", "--into", "shop.unified_tasks")
    assert "DECIDE" in journey.project.migrator("rewrite-imports", "--check").stderr
    journey.edit(DATA / "by_hand.patch")
    assert journey.by_hand <= 15
    journey.project.commit()


def capture(journey: Journey) -> None:
    """Let orders and reports wait, one until after the cutover, and write cases from them."""
    journey.python("manage.py", "enqueue_orders", "10")
    journey.python("manage.py", "enqueue_reports", "5")
    journey.python("manage.py", "shell", "-c", "from orders.services import remind_later as r; r('later', 120_000)")
    shutil.copytree(DATA / "cases", journey.project.folder / "parity" / "cases")
    assert "9 cases written" in journey.run("parity-check", "--capture", "1")
    journey.project.commit()


def convert(journey: Journey) -> None:
    """Look, write, write again, and test, as the README says."""
    assert "would rewrite" in journey.run("rewrite-imports", "--check", codes=(1,))
    assert "+++ b/orders/services.py" in journey.run("rewrite-imports", "--diff", codes=(1,))
    journey.run("rewrite-imports")
    journey.project.commit()
    journey.run("rewrite-imports")
    assert journey.project.changed() == "", "the second run changes something"
    journey.run("rewrite-imports", "--check")
    journey.python("manage.py", "test")


def from_inspect_to_complete(tmp_path: Path, environment: Path | None = None) -> str:
    """Migrate the shop there, back and there again under load, and return what is to be told of it.

    Args:
        tmp_path: Where all of it lies.
        environment: The shop's own; that of the tool if None.
    """
    port, database = free_port(), tmp_path / "shop.sqlite3"
    with redis_that_survives(tmp_path) as server:
        environ = {"SHOP_REDIS": server.url().rpartition("/")[0], "SHOP_DB": str(database), "PORT": str(port)}
        with open_journey(tmp_path, DATA / "shop", environ, environment=environment) as journey:
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
            return (
                f"lines by hand {journey.by_hand}, requests {len(ledger)}, rows {total}, lost={lost} "
                f"duplicated={duplicated}, cutover {journey.took_s('cutover'):.0f} s"
            )

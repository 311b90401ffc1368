"""A journey from Celery to Celery: tasks get new names, and the queues of two pools of workers become two others.

Nothing here knows the tool from inside. What tasks did is counted in the project's own table on PostgreSQL, with the
queue that each message came from.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from journey import Journey, open_journey, redis_that_survives, start_traffic
from waiting import wait_until

from migrator.embedded_redis import free_port

# It shares the server of other tests on PostgreSQL.
pytestmark = pytest.mark.xdist_group("postgresql")

DATA = Path(__file__).with_name("data")
#: What each request leads to: suffix of its reference, and what is done.
EXPECTED = {
    "parcel": [("", "notice"), ("", "receipt"), ("", "digest"), ("", "label")],
    "report": [("", "daily"), ("", "export"), ("-byname", "daily"), ("", "purge")],
}
LETTERS = {"notice", "receipt", "digest", "nudge"}
#: Entries of the schedule, by reference and what is done: in the settings, in the app's ``conf``, and in a row.
ENTRIES = {("", "digest"), ("", "purge"), ("office", "nudge")}


class Courier:
    """The journey, and the table in which each task leaves a row."""

    def __init__(self, journey: Journey, database: str) -> None:
        self.journey = journey
        self.database = database

    def rows(self) -> Counter[tuple[str, str, str]]:
        """Return how many rows there are by reference, what was done and queue."""
        with psycopg.connect(self.database, connect_timeout=10) as connection:
            found = connection.execute("SELECT ref, what, pool FROM ledger_entry").fetchall()
        return Counter((str(ref), str(what), str(pool)) for ref, what, pool in found)

    def databases(self) -> set[str]:
        """Return the names of all databases on the server."""
        with psycopg.connect(self.database, connect_timeout=10) as connection:
            return {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}

    def done(self) -> Counter[tuple[str, str]]:
        """Return how many rows there are by reference and what was done."""
        found: Counter[tuple[str, str]] = Counter()
        for (ref, what, _), count in self.rows().items():
            found[ref, what] += count
        return found

    def wait_for_beat(self) -> None:
        """Wait for two firings of every entry from now on."""
        before = self.done()
        wait_until(
            lambda: all(self.done()[entry] >= before[entry] + 2 for entry in ENTRIES),
            what=lambda: f"two firings of each entry: {[(e, self.done()[e] - before[e]) for e in ENTRIES]}",
            timeout_s=90,
        )

    def balance(self, ledger: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
        """Return how many rows there should be, and how many are missing and too many."""
        done, total, lost, duplicated = self.done(), 0, 0, 0
        for request in ledger:
            for suffix, what in EXPECTED[request["path"].split("/")[1]]:
                found = done[request["ref"] + suffix, what]
                # Nobody knows what a request has sent whose connection broke; twice is wrong all the same.
                lost += request["status"] == 200 and not found
                duplicated += max(0, found - 1)
                total += request["status"] == 200
        return total, lost, duplicated


def convert(journey: Journey) -> None:
    """Look, write, write again, and test, as the README says."""
    assert "would rewrite" in journey.run("rewrite-imports", "--check", codes=(1,))
    assert '+    "papers.daily": {"queue": "papers"},' in journey.run("rewrite-imports", "--diff", codes=(1,))
    journey.run("rewrite-imports")
    journey.project.commit()
    journey.run("rewrite-imports")
    assert journey.project.changed() == "", "the second run changes something"
    journey.run("rewrite-imports", "--check")
    journey.python("manage.py", "test", "--settings", "courier.settings.test")


def prepare(journey: Journey) -> None:
    """Inspect, write the unified module, draft, decide, and make the cases."""
    inspected = journey.run("inspect")
    assert "reporting.purge" in inspected, "a name that is a constant of another module"
    assert "reporting.daily" in inspected, "a name that is a member of an enumeration"
    shutil.copy(DATA / "jobs.py", journey.project.folder / "courier" / "jobs.py")
    journey.run("init", "--into", "courier.jobs")
    drafted = (journey.project.folder / "migration.toml").read_text(encoding="utf-8")
    assert 'queues = ["letters", "papers"]' in drafted
    assert drafted.count('queue = "papers"') == drafted.count('queue = "reports"') == 4
    assert "DECIDE" in journey.project.migrator("rewrite-imports", "--check").stderr
    journey.edit(DATA / "by_hand.patch")
    assert journey.by_hand <= 10
    journey.project.commit()
    journey.python("manage.py", "migrate", "--verbosity", "0")
    journey.python("manage.py", "shell", "-c", "from mailing.views import parcel; parcel(None, 'wait')")
    shutil.copytree(DATA / "cases", journey.project.folder / "parity" / "cases")
    assert "4 cases written" in journey.run("parity-check", "--capture", "1")
    journey.project.commit()


@pytest.mark.journey
@pytest.mark.timeout(1200)
def test_two_pools_become_two_others(
    tmp_path: Path, postgres_url: str, record_property: Callable[[str, object], None]
) -> None:
    port = free_port()
    environ = {"DATABASE_URL": postgres_url, "PORT": str(port)}
    with (
        redis_that_survives(tmp_path) as server,
        open_journey(tmp_path, DATA / "project", {**environ, "REDIS_URL": server.url(0)}) as journey,
    ):
        courier = Courier(journey, postgres_url)
        prepare(journey)
        journey.run("workers", "start", "legacy", "--yes")
        paths = ("/parcel/{ref}/", "/report/{ref}/")
        traffic = start_traffic(journey, f"http://127.0.0.1:{port}", paths, interval_s=0.1)
        courier.wait_for_beat()

        convert(journey)
        journey.run("parity-check", "--accept", "other-queue", codes=(0, 1), timeout_s=400)
        journey.run("parity-check", timeout_s=400)
        journey.project.commit()
        assert "migrator_rehearsal_" in journey.run("rehearse", timeout_s=400)
        assert not [name for name in courier.databases() if "rehearsal" in name], "one was left behind"
        journey.run("cutover", "--dry-run")
        journey.run("cutover", "--yes", timeout_s=400)
        journey.run("status")
        courier.wait_for_beat()
        journey.run("rollback", "--yes", timeout_s=400)
        courier.wait_for_beat()

        convert(journey)
        journey.run("cutover", "--yes", timeout_s=400)
        courier.wait_for_beat()
        ledger = traffic.stop()
        wait_until(lambda: courier.balance(ledger)[1] == 0, timeout_s=120, what=lambda: courier.balance(ledger))
        journey.run("complete", "--name", "project")
        total, lost, duplicated = courier.balance(ledger)
        assert (lost, duplicated) == (0, 0)
        waited = {what for ref, what in courier.done() if ref == "wait"}
        assert waited == {what for _, what in EXPECTED["parcel"]}, "what waited for a worker"
        for _, what, pool in courier.rows():
            assert pool in ({"mail", "letters"} if what in LETTERS else {"reports", "papers"}), (what, pool)
        record_property(
            "journey",
            f"regroup: lines by hand {journey.by_hand}, requests {len(ledger)}, rows {total}, lost={lost} "
            f"duplicated={duplicated}, cutover {journey.took_s('cutover'):.0f} s, "
            f"rollback {journey.took_s('rollback'):.0f} s",
        )

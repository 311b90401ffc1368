"""The shop in environments of old, middle and new versions, driven from the tool's own: parity, cutover, back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import MIDDLE, NEWEST, OLDEST, OTHER, Versions, environment, installed
from journey import Journey, open_journey, redis_that_survives, start_traffic
from shop_journey import DATA, INTERVAL_S, PATHS, Shop, capture, convert, draft, from_inspect_to_complete
from waiting import wait_until

from migrator.embedded_redis import free_port

#: Messages that wait through all of it.
LATE = 5


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("versions", [OLDEST, MIDDLE, NEWEST], ids=lambda versions: versions.name)
def test_parity_and_a_cutover_there_and_back(
    versions: Versions, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    port, database, folder = free_port(), tmp_path / "shop.sqlite3", environment(versions)
    with redis_that_survives(tmp_path) as server:
        environ = {"SHOP_REDIS": server.url().rpartition("/")[0], "SHOP_DB": str(database), "PORT": str(port)}
        with open_journey(tmp_path, DATA / "shop", environ, environment=folder) as journey:
            shop = Shop(journey, database)
            journey.python("manage.py", "migrate", "--verbosity", "0")
            draft(journey)
            capture(journey)
            assert str(folder / "bin/python") in journey.run("status")
            journey.run("workers", "start", "legacy", "--yes")
            traffic = start_traffic(journey, f"http://127.0.0.1:{port}", PATHS, interval_s=INTERVAL_S)
            shop.wait_for_beats()
            # Due after all of this: they go there and back, and wait.
            code = f"from orders.services import remind_later as r; [r('late', 1_800_000) for n in range({LATE})]"
            journey.python("manage.py", "shell", "-c", code)
            convert(journey)
            journey.run("parity-check", "--accept", "written-anew", codes=(0, 1))
            compared = parity(journey)
            journey.project.commit()
            there = carried(journey, "cutover")
            shop.wait_for_beats()
            # Chains that wait have no legacy form: all of the traffic is run before the way back.
            ledger = traffic.stop()
            wait_until(
                lambda: shop.balance(ledger)[1] == 0, timeout_s=240, what=lambda: shop.balance(ledger), pause_s=1
            )
            back = carried(journey, "rollback")
            shop.wait_for_beats()
            journey.python("manage.py", "enqueue_orders", "3", "--prefix", "after")
            after = [("orders_event", f"after-{number}", "sync") for number in range(3)]
            wait_until(lambda: all(shop.rows()[key] for key in after), timeout_s=120, what="the last orders")
            total, lost, duplicated = shop.balance(ledger)
            assert (lost, duplicated) == (0, 0)
            assert there >= LATE
            waiting = json.loads(journey.run("status", "--format", "json"))["waiting"]
            first = 1 - shop.rows()["orders_event", "later", "confirmation"]
            # A worker that runs holds what is due later.
            held = sum(count for name, count in waiting.items() if name.startswith("legacy.dramatiq default "))
            assert held == LATE + first
            record_property(
                "journey",
                f"{versions.name}: {installed(folder)}; {compared} cases compared; messages carried {there} there, "
                f"{back} back; {total} rows, lost={lost} doubled={duplicated}",
            )


@pytest.mark.matrix
@pytest.mark.timeout(1200)
def test_the_whole_journey_where_every_version_is_another(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    folder = environment(OTHER)
    told = from_inspect_to_complete(tmp_path, folder)
    record_property("journey", f"{OTHER.name}: {installed(folder)}; shop: {told}")


def parity(journey: Journey) -> int:
    """Run a green parity check and return how many cases were compared: all that there are."""
    report = json.loads(journey.run("parity-check", "--format", "json"))["parity"]
    cases = [item["outcome"] for item in report["comparisons"] if ":" not in item["case"]]
    assert set(cases) <= {"matched", "waived"}
    folders = [file.parent for file in (journey.project.folder / "parity/cases").rglob("case.toml")]
    assert len(cases) == len(folders)
    return len(cases)


def carried(journey: Journey, command: str) -> int:
    """Move the system and return how many messages came with it."""
    report = json.loads(journey.run(command, "--yes", "--format", "json", timeout_s=400))
    assert report["quarantined"] == 0
    return int(report["moved"])

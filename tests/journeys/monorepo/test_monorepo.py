"""A journey: two modules of one project of a repository move to Celery; everything else of it stays and is served.

Nothing here knows the tool from inside. What tasks did is counted in the project's own table, for every reference that
the web process was given.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from difflib import unified_diff
from itertools import pairwise
from pathlib import Path

import pytest
from journey import Journey, Traffic, changed_lines, open_journey, redis_that_survives, start_traffic
from own_environment import project_python
from waiting import wait_until

from migrator.embedded_redis import free_port

REPOSITORY = Path(__file__).parent / "data" / "repo"
#: What is done for a reference, by the path that was asked for it; of those in scope, and of those that stay.
MOVED = {"order": {"order", "notify", "address"}, "product": set[str]()}
STAYS = {"order": {"reindex", "receipt"}, "product": {"reindex", "thumbnail"}}


@pytest.fixture
def journey(tmp_path: Path) -> Iterator[Journey]:
    with redis_that_survives(tmp_path) as server:
        environ = {
            "REDIS_URL": server.url(0),
            "PORT": str(free_port()),
            # One of its packages is called `checks`.
            "MIGRATOR_PYTHON": str(project_python(tmp_path / "venv")),
            "SHOPFRONT_DB": str(tmp_path / "shopfront.sqlite3"),
        }
        with open_journey(tmp_path, REPOSITORY, environ) as opened:
            yield replace(opened, project=replace(opened.project, folder=opened.project.folder / "shopfront"))


@pytest.mark.journey
@pytest.mark.timeout(1500)
def test_two_modules_of_one_project_move_and_the_rest_stays(
    journey: Journey, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    before_the_rewrite(journey)
    journey.python("manage.py", "migrate", "-v0")
    journey.run("workers", "start", "legacy", "--yes")
    base = f"http://127.0.0.1:{journey.project.environ['PORT']}"
    traffic = start_traffic(journey, base, ["/order/{ref}", "/product/{ref}"], interval_s=0.05)
    phases = [time.time()]
    convert(journey, first=True)
    journey.run("rehearse", timeout_s=600)
    planned = journey.run("cutover", "--dry-run")
    assert "start legacy-dramatiq" in planned
    phases.append(time.time())
    journey.run("cutover", "--yes", timeout_s=600)
    phases.append(time.time())
    check_status(journey)
    time.sleep(3)
    phases.append(time.time())
    journey.run("rollback", "--yes", timeout_s=600)
    phases.append(time.time())
    convert(journey, first=False)
    journey.run("cutover", "--yes", timeout_s=600)
    phases.append(time.time())
    time.sleep(3)
    figures = account(journey, traffic)
    phases.append(time.time())
    served_in_each(journey, phases)
    complete(journey)
    assert journey.by_hand <= 10
    took = {name: journey.took_s(name) for name in ("rehearse", "cutover", "rollback")}
    times = " ".join(f"{name}_s={seconds:.0f}" for name, seconds in took.items())
    record_property("journey", f"monorepo: {figures} lines_by_hand={journey.by_hand} {times}")


def before_the_rewrite(journey: Journey) -> None:
    """Inspect, draft, and decide what a draft can't know."""
    inspected = json.loads(journey.run("inspect", "--format", "json"))
    assert {task["name"] for task in inspected["tasks"]} >= {"place_order", "reindex", "tasks.mailing.send_receipt"}
    assert not any("backoffice" in task["where"] for task in inspected["tasks"])
    words = ["init", "--in-place", "--module", "jobs.tasks", "--module", "checks.tasks", "--format", "json"]
    drafted = json.loads(journey.run(*words))
    stays = ["celery:tasks.mailing.send_receipt", "celery:tasks.mailing.stock_report"]
    assert drafted["stays"] == [*stays, "dramatiq:make_thumbnail", "dramatiq:reindex"]
    plan = journey.project.folder / "migration.toml"
    before = plan.read_text(encoding="utf-8")
    lines = [edited(line) for line in before.splitlines()]
    after = "\n".join(lines) + "\n"
    journey.by_hand += changed_lines("\n".join(unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")))
    plan.write_text(after, encoding="utf-8")
    journey.project.commit()


def edited(line: str) -> str:
    """Return a line of the draft as the operator leaves it: the queues and the broker are said in a class."""
    if line.startswith("queues = [") and "unified" not in line:
        return 'queues = ["default", "checks"]'
    return 'broker = "${REDIS_URL}"' if line.startswith("broker = ") else line


def convert(journey: Journey, *, first: bool) -> None:
    """Rewrite, look at it, rewrite again, test, commit, prove."""
    if first:
        journey.run("rewrite-imports", "--check", codes=(1,))
        shown = journey.run("rewrite-imports", "--diff", codes=(1,))
        assert "catalog/tasks.py" not in shown
        assert "tasks/mailing.py" not in shown
    journey.run("rewrite-imports")
    changed = journey.project.changed()
    assert not [line for line in changed.splitlines() if "backoffice" in line]
    journey.run("rewrite-imports")
    assert journey.project.changed() == changed
    journey.run("rewrite-imports", "--check")
    journey.python("manage.py", "test", "jobs")
    journey.project.commit()
    journey.run("parity-check", timeout_s=600)


def check_status(journey: Journey) -> None:
    status = json.loads(journey.run("status", "--format", "json"))
    assert status["state"] == "migrated"
    assert len(status["stays"]) == 4
    running = {process["name"] for process in status["processes"] if process["state"] == "running"}
    assert {"legacy-dramatiq", "legacy-worker", "unified-worker", "unified-web"} <= running
    assert not {"legacy-web", "legacy-beat"} & running


def entries(journey: Journey) -> list[tuple[str, str, str]]:
    """Return reference, what was done, and when (UTC), from the project's own table."""
    with closing(sqlite3.connect(journey.project.environ["SHOPFRONT_DB"], timeout=60)) as database:
        return list(database.execute("select ref, what, created from ledger_entry"))


def account(journey: Journey, traffic: Traffic) -> str:
    """End the traffic, wait for what is under way, and count every message by its reference."""
    requests = traffic.stop()
    wanted: Counter[tuple[str, str]] = Counter()
    for request in requests:
        assert request["status"] in (0, 200), request
        if request["status"] == 200:
            kind = str(request["path"]).split("/")[1]
            wanted.update((str(request["ref"]), what) for what in MOVED[kind] | STAYS[kind])
    unknown = {str(request["ref"]) for request in requests if request["status"] == 0}

    def done() -> Counter[tuple[str, str]]:
        found = ((ref, what) for ref, what, _ in entries(journey) if ref.startswith("load-") and ref not in unknown)
        return Counter(found)

    # A message that is not run in time is lost: that is no wait to be tried again.
    end = time.monotonic() + 120
    while wanted - done() and time.monotonic() < end:
        time.sleep(0.5)
    time.sleep(2)
    lost, duplicated = wanted - done(), done() - wanted
    assert (lost, duplicated) == (Counter(), Counter())
    return f"requests={len(requests)} messages={wanted.total()} lost={lost.total()} duplicated={duplicated.total()}"


def served_in_each(journey: Journey, phases: list[float]) -> None:
    """Tasks that stay ran in every phase: before, during and after each cutover and rollback."""
    stamps = {what: list[str]() for what in ("reindex", "receipt", "thumbnail", "stock-report")}
    for _, what, created in entries(journey):
        if what in stamps:
            stamps[what].append(created)
    for begin, end in pairwise(phases):
        first, last = (time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) for moment in (begin, end))
        for what in ("reindex", "receipt", "thumbnail"):
            assert any(first <= created <= last for created in stamps[what]), (what, first, last)
    last_cutover = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(phases[-2]))
    assert any(created >= last_cutover for created in stamps["stock-report"]), "beat sends what stays"


def complete(journey: Journey) -> None:
    """The end: what stays is no reason against it, and is served afterwards."""
    answer = json.loads(journey.run("complete", "--name", "shopfront", "--format", "json", codes=(0, 4)))
    assert answer["exit_code"] == 0, answer["findings"]
    before = len(entries(journey))
    wait_until(lambda: len(entries(journey)) > before, what="beat's next entry of a task that stays", timeout_s=60)

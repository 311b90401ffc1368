"""A hotel that has Dramatiq and nothing else moves to Celery in place, under load, back, and there again.

Its actors have options of a helper, a class, a coroutine, an age limit, a clock by periodiq and a pipeline whose steps
have arguments of their own; its tests have mocks. What every booking did is counted in the files that the tasks write.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from journey import Journey, open_journey, redis_that_survives, start_traffic
from rabbit_server import RabbitServer
from waiting import wait_until

from migrator.brokers.rabbitmq.management import URL_VARIABLE
from migrator.embedded_redis import free_port

HOTEL = Path(__file__).parent / "data" / "hotel"
KINDS = ("confirm", "remind", "settle", "notify", "offer", "invoice")


@pytest.mark.journey
@pytest.mark.timeout(1500)
def test_on_redis(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with redis_that_survives(tmp_path) as server:
        line = move(tmp_path, HOTEL, {"REDIS_URL": server.url(3)}, rehearsed=True)
    record_property("journey", f"in place, Redis: {line}")


@pytest.mark.journey
@pytest.mark.timeout(1500)
@pytest.mark.xdist_group("rabbitmq-runs")
def test_on_rabbitmq(tmp_path: Path, rabbit: RabbitServer, record_property: Callable[[str, object], None]) -> None:
    """The URL of the broker stands in the settings as it is."""
    broker = rabbit.make_host(tmp_path.name)
    files = tmp_path / "source" / "hotel"
    shutil.copytree(HOTEL, files)
    settings = files / "src" / "hotel" / "settings.py"
    text = settings.read_text().replace("brokers.redis.RedisBroker", "brokers.rabbitmq.RabbitmqBroker")
    settings.write_text(text.replace('"OPTIONS": {"url": REDIS_URL}', f'"OPTIONS": {{"url": "{broker}"}}'))
    # A broker that stands in the settings as it is can't be replaced by a scratch one.
    line = move(tmp_path, files, {URL_VARIABLE: rabbit.management_url}, rehearsed=False)
    record_property("journey", f"in place, RabbitMQ: {line}")


def move(folder: Path, files: Path, environ: dict[str, str], *, rehearsed: bool) -> str:
    """Move the hotel there, back, and there again, and return what was measured."""
    audit, port = folder / "audit", free_port()
    with open_journey(folder, files, {**environ, "AUDIT_FOLDER": str(audit)}) as journey:
        listen_on(journey, port)
        journey.python("src/manage.py", "migrate", "--verbosity", "0")
        journey.run("inspect")
        journey.run("init")
        write_by_hand(journey)
        journey.project.commit()
        journey.run("workers", "start", "legacy", "--yes")
        paths = [f"/book/{kind}/{kind}-{{ref}}" for kind in KINDS]
        traffic = start_traffic(journey, f"http://127.0.0.1:{port}", paths, interval_s=0.1)
        capture_cases(journey, audit)

        rewrite(journey)
        journey.run("parity-check")
        journey.run("rehearse", codes=(0 if rehearsed else 4,))
        journey.run("cutover", "--dry-run")
        journey.run("cutover", "--yes")
        journey.run("status")
        some_more(audit)
        journey.run("rollback", "--yes")
        some_more(audit)
        rewrite(journey)
        journey.run("parity-check")
        journey.run("cutover", "--yes")
        some_more(audit)

        lost, twice, accepted = count(traffic.stop(), audit)
        assert (lost, twice) == ([], [])
        journey.run("complete", "--name", "hotel")
        assert journey.project.git("worktree", "list").count("\n") == 1
        assert "complete" in journey.run("status")
        assert journey.by_hand <= 5
        took = ", ".join(f"{name} {journey.took_s(name):.0f} s" for name in ("parity-check", "rehearse", "cutover"))
        return f"{accepted} bookings, lost=0 duplicated=0, by_hand={journey.by_hand}, {took}"


def listen_on(journey: Journey, port: int) -> None:
    """Give the project a port that is free on this machine."""
    file = journey.project.folder / "docker-compose.yml"
    file.write_text(file.read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    journey.project.commit()


def write_by_hand(journey: Journey) -> None:
    """Edit the drafted plan: offers get the price last."""
    plan = journey.project.folder / "migration.toml"
    before, place, after = plan.read_text().partition('path = "bookings.tasks.offer"\n')
    assert place
    plan.write_text(f"{before}{place}result_last = true\n{after}")
    journey.by_hand += 1


def capture_cases(journey: Journey, audit: Path) -> None:
    """Make the parity cases of messages that wait while the legacy worker is stopped for a moment."""
    some_more(audit)
    journey.run("workers", "stop", "legacy", "--name", "legacy-worker", "--yes")
    send = "from bookings.tasks import clean_up, offer; offer.send('by-hand', 160); clean_up.send()"
    journey.python("src/manage.py", "shell", "-c", send)
    journey.run("parity-check", "--capture")
    journey.run("workers", "start", "legacy", "--name", "legacy-worker", "--yes")
    journey.project.commit()


def rewrite(journey: Journey) -> None:
    """Rewrite the source, run the project's tests, and commit."""
    assert "would rewrite" in journey.run("rewrite-imports", "--check", codes=(1,))
    assert "+@shared_task" in journey.run("rewrite-imports", "--diff", codes=(1,))
    journey.run("rewrite-imports", codes=(0, 1))
    changed = journey.project.changed()
    journey.run("rewrite-imports", codes=(0, 1))
    assert journey.project.changed() == changed
    journey.python("src/manage.py", "test", "bookings")
    journey.project.commit()


def done(audit: Path) -> Counter[str]:
    """Return how often each piece of work was finished."""
    lines = [line for file in sorted(audit.glob("*.jsonl")) for line in file.read_text().splitlines()]
    return Counter(f"{item['what']} {item['id']}" for item in map(json.loads, lines))


def some_more(audit: Path) -> None:
    """Wait until more bookings of each kind are finished."""
    before = Counter(name.split()[0] for name in done(audit))

    def grown() -> bool:
        now = Counter(name.split()[0] for name in done(audit))
        return all(now[kind] >= before[kind] + 3 for kind in KINDS)

    wait_until(grown, what="three more bookings of each kind", timeout_s=60)


def count(ledger: list[dict[str, object]], audit: Path) -> tuple[list[str], list[str], int]:
    """Return what was lost, what was done twice, and how many bookings were accepted."""
    wanted = {str(item["path"]).split("/")[2]: None for item in ledger}
    assert set(wanted) == set(KINDS)
    accepted = {
        f"{kind} {kind}-{item['ref']}"
        for item in ledger
        for kind in [str(item["path"]).split("/")[2]]
        if item["status"] == 200
    }
    assert all(item["status"] in (0, 200) for item in ledger), Counter(item["status"] for item in ledger)

    def missing() -> list[str]:
        return sorted(accepted - done(audit).keys())

    wait_until(lambda: not missing(), what="every booking to be finished", timeout_s=60)
    return missing(), sorted(name for name, times in done(audit).items() if times > 1), len(accepted)

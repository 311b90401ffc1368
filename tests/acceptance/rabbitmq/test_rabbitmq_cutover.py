"""The whole migration of the sample with its brokers on RabbitMQ, under load: there and back.

With ``RABBITMQ_LONG=1`` once more, and then from RabbitMQ over to Redis.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rabbit_server import RabbitServer
from sample_rabbitmq import on_rabbitmq, put_on_rabbitmq
from shop import end_everything
from waiting import wait_until

from codemods.runner import rewrite
from migrator.demo.scratch import Scratch, commit, create_scratch, find_fixtures, git, manage
from migrator.demo.servers import demo_servers
from migrator.demo.system import SystemUnderTest
from migrator.events import ignore
from migrator.plan.loader import load_plan
from migrator.report import Report
from migrator.runner import cutover
from migrator.runner.report import RunReport
from migrator.state.journal import open_journal
from migrator.steps.protocol import RunOptions
from migrator.wire.message import Side
from migrator.wiring import guarded
from migrator.workers.start_stop import list_processes

pytestmark = pytest.mark.timeout(300)

#: Of the load. Everything takes longer on a busy machine, and each message sent meanwhile makes it busier.
REQUESTS_A_SECOND = 4.0


@pytest.fixture
def environ(tmp_path: Path, rabbit: RabbitServer, vhost: str) -> Iterator[dict[str, str]]:
    """The environment of the sample's processes; ``REDIS_URL`` is the way out."""
    with demo_servers(find_fixtures(None), tmp_path, None) as given:
        yield on_rabbitmq(given, url=rabbit.url(vhost), management_url=rabbit.management_url)


@pytest.fixture
def system(tmp_path: Path, environ: dict[str, str]) -> Iterator[SystemUnderTest]:
    scratch = create_scratch(find_fixtures(None), tmp_path, environ)
    folder = scratch.plan.folder
    git(folder, "config", "user.name", "Operator")
    git(folder, "config", "user.email", "operator@example.org")
    put_on_rabbitmq(folder)
    system = SystemUnderTest(
        scratch=replace(scratch, plan=load_plan(scratch.plan.file)), listener=ignore, messages=0, seed=5
    )
    try:
        yield system
    finally:
        for load in system.loads:
            load.stop()
        end_everything(system.scratch.plan)


def run(scratch: Scratch, command: str) -> RunReport:
    """Run one command; proof and conversion are other tests' business."""
    options = replace(guarded(scratch.plan, RunOptions()), check_proof=green, check_source=green)
    report: RunReport = getattr(cutover, command)(scratch.plan, environ=scratch.environ, options=options)
    assert report.ok, (report.failure, [str(finding) for finding in report.findings])
    running = {s.name for s in list_processes(scratch.plan, environ=scratch.environ) if s.state == "running"}
    side = Side.LEGACY if command == "rollback" else Side.UNIFIED
    assert running == {process.name for process in scratch.plan.select(side=side)}
    return report


def green() -> Report:
    return Report(subject="given", checked=1)


def convert(scratch: Scratch) -> None:
    rewrite(scratch.plan)
    commit(scratch.plan.folder, "Convert to the unified tasks")


def longest_delay_s(system: SystemUnderTest) -> float:
    """Return the longest delay of what was enqueued before the cutover."""
    lines = (system.scratch.folder / "enqueued-6.jsonl").read_text().splitlines()
    return max(float(json.loads(line)["delay_s"]) for line in lines)


def longest_eta(scratch: Scratch) -> float:
    """Return when the last delayed message is due, as the cutover has written it down for `complete`."""
    entries = open_journal(scratch.plan).entries(1)
    return max(entry.data.get("longest_eta_at") or 0.0 for entry in entries if entry.step == "verify")


def over_to_redis(system: SystemUnderTest) -> None:
    """Cut over again with the same plan: where the unified queue lies is said by the environment."""
    scratch = system.scratch
    convert(scratch)
    system.scratch = replace(scratch, environ={**scratch.environ, "UNIFIED_URL": scratch.environ["REDIS_URL"]})
    assert run(system.scratch, "cutover").moved


def test_there_and_back(system: SystemUnderTest) -> None:
    """Every id is accounted for by what the sample's processes wrote down and what lies in the brokers."""
    scratch = system.scratch
    before = git(scratch.plan.folder, "rev-parse", "HEAD").strip()
    manage(scratch, ["migrate", "--verbosity", "0"])
    system.start(Side.LEGACY)
    started = time.time()
    system.enqueue(150)
    convert(scratch)
    with system.load() as load:
        load.rate = REQUESTS_A_SECOND
        there = run(scratch, "cutover")
        system.enqueue(40)
        back = run(scratch, "rollback")
        assert git(scratch.plan.folder, "diff", "--stat", before) == ""
    assert there.moved and back.moved and there.downtime_s is not None
    # Most delayed messages were held by the unified workers when that was found out.
    assert longest_eta(scratch) > started + longest_delay_s(system) - 1
    long = os.environ.get("RABBITMQ_LONG") == "1"
    if long:
        over_to_redis(system)

    def all_stopped() -> bool:
        # On a busy machine one may take longer than its time: it is told again, and then the others.
        system.stop()
        return not alive()

    def alive() -> list[tuple[str, str, str]]:
        found = [s for s in list_processes(scratch.plan, environ=scratch.environ) if s.state != "stopped"]
        return [(s.name, s.state, Path(s.log).read_text()[-1500:]) for s in found]

    wait_until(all_stopped, timeout_s=120, what=alive)
    # What a worker held comes back to its queue when the server has noticed that its connection is gone.
    deadline = time.monotonic() + 60
    while not (account := system.tally("the end", workers_stopped=True)).balanced and time.monotonic() < deadline:
        time.sleep(1)
    assert account.balanced, account
    assert account.enqueued > 190
    here, other = system.depths(Side.UNIFIED), system.depths(Side.LEGACY)
    if not long:
        here, other = other, here
    # Some run an hour from now: they are where the last command brought them.
    assert account.waiting and here["ready"] + here["delayed"]
    assert not {state: number for state, number in other.items() if number}

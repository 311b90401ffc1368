"""Guard of the workers: unknown, silent and orphaned ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from guard_context import codes, context
from shop import Shop, eventually, start_legacy

from migrator.steps.guards import workers
from migrator.wire.message import System
from migrator.workers import celery_control
from migrator.workers.drivers.process_identity import wait_gone
from migrator.workers.drivers.process_record import read_record, record_file


def test_a_celery_worker_that_the_plan_does_not_know_is_refused(shop: Shop) -> None:
    start_legacy(shop, ["old-celery"])
    assert "WORKER-UNKNOWN" not in codes(workers.guard(context(shop)))
    command = [sys.executable, "-m", "celery", "-A", "jobs.old_celery", "worker", "--pool=solo", "-n", "stranger@%h"]
    log = (shop.folder / "stranger.log").open("wb")
    stranger = subprocess.Popen(
        command, cwd=shop.folder / "src", env=shop.environ, stdout=log, stderr=log, start_new_session=True
    )
    try:
        endpoint = shop.plan.endpoint(System.CELERY)
        assert endpoint is not None
        with celery_control.control(endpoint, shop.environ) as control:
            eventually(lambda: stranger.pid in celery_control.all_nodes(control, timeout_s=0.3).values())
        (finding,) = workers.guard(context(shop)).errors
        assert finding.code == "WORKER-UNKNOWN"
        assert f"pid {stranger.pid}" in finding.found
        # Busy: it can't answer, and can't be asked what it consumes.
        stranger.send_signal(signal.SIGSTOP)
        (finding,) = workers.guard(context(shop)).errors
        assert (finding.code, finding.found) == ("WORKER-SILENT", "1 workers")
    finally:
        stranger.send_signal(signal.SIGCONT)
        stranger.terminate()
        stranger.wait(15)
        log.close()


def test_a_dramatiq_worker_that_the_plan_does_not_know_is_refused(shop: Shop) -> None:
    start_legacy(shop, ["old-dramatiq"])
    file = record_file(shop.plan, "old-dramatiq")
    shop.run("from jobs.old_dramatiq import pack_box; pack_box.send(1, 5)")
    with shop.redis() as client:
        eventually(lambda: list(client.scan_iter("dramatiq:__acks__.*.default")))
    known = file.read_bytes()
    file.unlink()
    try:
        assert codes(workers.guard(context(shop))) == {"WORKER-UNKNOWN"}
    finally:
        file.write_bytes(known)
    assert codes(workers.guard(context(shop))) == set()


def test_a_worker_that_is_silent_is_no_idle_worker(shop: Shop) -> None:
    start_legacy(shop, ["old-celery"])
    record = read_record(shop.plan, "old-celery")
    assert record is not None
    os.kill(record.pid, signal.SIGSTOP)
    try:
        assert codes(workers.guard(context(shop))) == {"WORKER-SILENT"}
    finally:
        os.kill(record.pid, signal.SIGCONT)


def test_orphaned_children_are_refused_and_missing_processes_are_mentioned(shop: Shop) -> None:
    start_legacy(shop, ["old-dramatiq"])
    record = read_record(shop.plan, "old-dramatiq")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    wait_gone([record.identity], timeout_s=5)
    report = workers.guard(context(shop))
    assert "PROCESS-ORPHANED" in codes(report)
    missing = [finding.where for finding in report.findings if finding.code == "PROCESS-NOT-RUNNING"]
    assert missing == ["process old-celery", "process old-beat", "process old-web"]
    for child in record.living_children:
        os.kill(child.pid, signal.SIGKILL)

"""The preflight: each finding is provoked for real, and none is hidden by another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import time_machine
from shop import Shop, eventually, options, send_orders, start_legacy

from migrator.embedded_redis import free_port
from migrator.plan.loader import load_plan
from migrator.plan.processes import Process
from migrator.report import Report, Severity
from migrator.state.journal import open_journal
from migrator.steps.guards import brokers, database, messages, schedulers, source, worker_probe, workers
from migrator.steps.order import STEPS
from migrator.steps.protocol import Context
from migrator.wire.message import System
from migrator.workers import celery_control
from migrator.workers.drivers.process_identity import wait_gone
from migrator.workers.drivers.process_record import read_record, record_file


def context(shop: Shop, **changes: Any) -> Context:
    given = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, options=options())
    return replace(given, **changes)


def codes(report: Report, severity: Severity = Severity.ERROR) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity is severity}


def test_a_healthy_legacy_system_passes_and_stays_as_it_is(shop: Shop) -> None:
    start_legacy(shop)
    send_orders(shop, 0, 8)
    report = STEPS[0].check(context(shop))
    assert codes(report) == set(), [str(finding) for finding in report.errors]
    assert set(report.facts["running"]) == {"old-dramatiq", "old-celery", "old-beat", "old-web"}
    assert report.facts["migrations_open"] == ("0001_initial",)
    assert shop.git("status", "--porcelain") == ""


def test_without_a_proof_it_is_refused(shop: Shop) -> None:
    given = context(shop, options=replace(options(), check_proof=None))
    assert "PROOF-MISSING" in codes(source.guard(given))


def test_a_dirty_tree_is_refused_and_an_unknown_file_is_mentioned(shop: Shop) -> None:
    (shop.folder / "src/web.py").write_text("# changed by somebody\n")
    (shop.folder / "notes.txt").write_text("not under version control\n")
    report = source.guard(context(shop))
    assert codes(report) == {"GIT-DIRTY"}
    assert "GIT-UNTRACKED" in codes(report, Severity.WARNING)


def test_a_half_done_merge_and_a_nameless_operator_are_refused(shop: Shop) -> None:
    (shop.folder / ".git/MERGE_HEAD").write_text(shop.git("rev-parse", "HEAD") + "\n")
    shop.git("config", "user.useConfigOnly", "true")
    shop.git("config", "--unset", "user.email")
    environ = {key: value for key, value in shop.environ.items() if not key.startswith("GIT_") and key != "EMAIL"}
    environ |= {"HOME": str(shop.folder), "XDG_CONFIG_HOME": str(shop.folder)}
    assert codes(source.guard(context(shop, environ=environ))) == {"GIT-BUSY", "GIT-IDENTITY"}


def test_a_project_without_git_is_refused(shop: Shop) -> None:
    (shop.folder / ".git").rename(shop.folder / "no-git")
    environ = {**shop.environ, "GIT_CEILING_DIRECTORIES": str(shop.folder.parent)}
    assert codes(source.guard(context(shop, environ=environ))) == {"GIT-MISSING"}


def test_a_database_that_does_not_answer(shop: Shop) -> None:
    report = database.guard(context(shop, environ={**shop.environ, "SHOP_DATABASE": "/no/such/folder/shop.sqlite3"}))
    assert codes(report) == {"DATABASE-UNREACHABLE"}
    assert "unable to open database file" in str(report.errors[0])


def test_an_app_without_migrations(shop: Shop) -> None:
    (shop.folder / "src/jobs/migrations/0001_initial.py").unlink()
    assert codes(database.guard(context(shop))) == {"DATABASE-NO-MIGRATIONS"}


def test_a_broker_that_is_down_is_unreachable_for_every_guard_and_nothing_raises(shop: Shop) -> None:
    down = context(shop, environ={**shop.environ, "SHOP_BROKER": f"redis://me:hunter2@127.0.0.1:{free_port()}/0"})
    assert codes(brokers.guard(down)) == {"BROKER-UNREACHABLE"}
    assert codes(messages.guard(down)) == {"MESSAGES-UNREADABLE"}
    assert codes(workers.guard(down)) == set()
    texts = " ".join(str(finding) for finding in (*brokers.guard(down).findings, *messages.guard(down).findings))
    assert "hunter2" not in texts


def test_a_server_that_throws_queues_away_is_refused(shop: Shop) -> None:
    with shop.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "BROKER-EVICTION" in codes(brokers.guard(context(shop)))
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("wrong_s", "severity", "found"),
    [
        (0, None, ""),
        (6, Severity.WARNING, "ahead"),
        (3600, Severity.ERROR, "3,600 s ahead"),
        (-3600, Severity.ERROR, "behind"),
    ],
)
def test_a_clock_that_is_not_the_servers(shop: Shop, wrong_s: int, severity: Severity | None, found: str) -> None:
    with time_machine.travel(time.time() + wrong_s, tick=True):
        report = brokers.guard(context(shop))
    findings = [finding for finding in report.findings if finding.code == "CLOCK-SKEW"]
    assert [finding.severity for finding in findings] == ([severity] if severity else []), "each server once"
    assert all(found in finding.found for finding in findings)


def test_too_little_memory_for_the_move_is_refused(shop: Shop) -> None:
    send_orders(shop, 0, 400)
    with shop.redis() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 200_000)
        try:
            assert codes(brokers.guard(context(shop))) == {"BROKER-MEMORY"}
        finally:
            client.config_set("maxmemory", 0)


def test_messages_without_a_successor_are_announced_and_a_far_eta_is_refused(shop: Shop) -> None:
    shop.run("from jobs.old_dramatiq import polish; [polish.send(n) for n in range(3)]")
    report = messages.guard(context(shop))
    assert codes(report) == set()
    assert [finding.what for finding in report.findings if finding.code == "MESSAGES-QUARANTINED"] == [
        "3 will be quarantined"
    ]
    shop.run("from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=7200)")
    assert "ETA-BEYOND-VISIBILITY" in codes(messages.guard(context(shop)))


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


def settings_of_the_shop(shop: Shop, *lines: str) -> None:
    """Change the unified app as a careless project would."""
    file = shop.folder / "src/jobs/unified.py"
    file.write_text("\n".join((file.read_text(), *lines, "")))


def test_a_trial_worker_shows_what_settings_would_spoil(shop: Shop) -> None:
    report = worker_probe.guard(context(shop))
    assert codes(report) == set(), [str(finding) for finding in report.errors]
    assert codes(report, Severity.WARNING) == {"PRIORITY-FLAT"}, "the shop sends both levels alike"
    settings_of_the_shop(
        shop,
        "app.conf.task_always_eager = True",
        "app.conf.task_routes = {'jobs.mail': {'queue': 'slow'}}",
        "app.conf.broker_transport_options = {",
        "    'priority_steps': list(range(10)), 'global_keyprefix': 'shop:', 'visibility_timeout': 600}",
        "app.conf.beat_schedule = {'nightly': {'task': 'jobs.old_celery.pack_order', 'schedule': 60}}",
        "pack.priority, mail.priority = 9, 0",
    )
    seen = {finding.code: str(finding) for finding in worker_probe.guard(context(shop)).errors}
    assert set(seen) == {
        "TASK-EAGER",
        "TASK-QUEUE",
        "PRIORITY-STEPS",
        "BROKER-PREFIX",
        "VISIBILITY-MISMATCH",
        "SCHEDULE-UNKNOWN-TASK",
        "PRIORITY-INVERTED",
    }
    assert "jobs.mail" in seen["TASK-QUEUE"]
    assert "settings have 600 s, the plan 3600 s" in seen["VISIBILITY-MISMATCH"]


def test_the_order_of_priorities_is_the_brokers(shop: Shop) -> None:
    settings_of_the_shop(shop, "pack.priority, mail.priority = 0, 9")
    assert codes(worker_probe.guard(context(shop)), Severity.WARNING) == set()
    environ = {**shop.environ, "SHOP_BROKER": "amqp://guest@127.0.0.1:1//"}
    assert codes(worker_probe.guard(context(shop, environ=environ))) == {"PRIORITY-INVERTED"}


def test_a_task_that_no_unified_worker_would_know_and_an_app_that_cant_be_imported(shop: Shop) -> None:
    file = shop.folder / "src/jobs/unified.py"
    file.write_text(file.read_text().replace('name="jobs.mail"', 'name="jobs.mails"'))
    (finding,) = worker_probe.guard(context(shop)).errors
    assert finding.code == "TASK-NOT-REGISTERED"
    assert "jobs.mails" in finding.remedy
    file.write_text("raise RuntimeError('no such broker, password hunter2')\n")
    (finding,) = worker_probe.guard(context(shop)).errors
    assert finding.code == "WORKER-PROBE-FAILED"
    assert "RuntimeError" in str(finding)


def test_a_net_that_nobody_would_catch_with_is_refused(shop: Shop) -> None:
    shop.plan.file.write_text(shop.plan.file.read_text() + "\n[cutover]\nlegacy_aliases = true\n")
    plan = load_plan(shop.plan.file)
    assert codes(worker_probe.guard(context(shop, plan=plan))) == {"ALIAS-UNSUPPORTED"}
    elsewhere = replace(plan, unified=replace(plan.unified, url="redis://elsewhere/0", priority_steps=(0, 9)))
    whats = {finding.what for finding in worker_probe.guard(context(shop, plan=elsewhere)).errors}
    assert len([what for what in whats if what.startswith("unified workers ")]) == 3


def test_a_beat_that_the_plan_does_not_know_is_refused(shop: Shop) -> None:
    start_legacy(shop, ["old-beat", "old-dramatiq"])
    report = schedulers.guard(context(shop))
    assert codes(report) == set(), [str(finding) for finding in report.errors]
    command = [sys.executable, "-m", "celery", "-A", "jobs.old_celery", "beat", "--pidfile", "celerybeat.pid"]
    log = (shop.folder / "stranger.log").open("wb")
    stranger = subprocess.Popen(
        [*command, "--schedule", "stranger"],
        cwd=shop.folder / "src",
        env=shop.environ,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        eventually((shop.folder / "src/celerybeat.pid").exists, timeout_s=60)
        found = schedulers.guard(context(shop)).errors
        assert {finding.code for finding in found} == {"SCHEDULER-UNKNOWN"}
        wheres = {finding.where for finding in found}
        assert wheres == {f"pid {stranger.pid}", str(shop.folder / "src/celerybeat.pid")}
    finally:
        stranger.terminate()
        stranger.wait(30)
        log.close()
    assert codes(schedulers.guard(context(shop))) == set()


def test_other_schedulers_in_redis_in_the_source_and_in_the_plan(shop: Shop) -> None:
    (shop.folder / "src/clock.py").write_text('"""Jobs."""\n\nfrom apscheduler.schedulers.background import X\n')
    with shop.redis() as client:
        client.set("redbeat::lock", "somebody")
        client.zadd("redbeat::schedule", {"redbeat:nightly": 1})
    twice = replace(
        shop.plan, processes=(*shop.plan.processes, beating(shop, "new-worker"), beating(shop, "old-celery"))
    )
    report = schedulers.guard(context(shop, plan=twice))
    assert codes(report) == {"SCHEDULER-UNKNOWN", "SCHEDULER-TWICE"}
    assert codes(report, Severity.WARNING) == {"SCHEDULE-IN-REDIS", "SCHEDULER-IN-SOURCE", "SCHEDULER-EMBEDDED"}
    (found,) = (finding for finding in report.findings if finding.code == "SCHEDULER-IN-SOURCE")
    assert found.where == "src/clock.py:3"


def beating(shop: Shop, name: str) -> Process:
    """A worker of the shop with a beat inside."""
    worker = next(process for process in shop.plan.processes if process.name == name)
    return replace(worker, name=f"{name}-b", command=(*worker.command, "-B"))


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["/usr/bin/python3", "-m", "celery", "-A", "x", "beat", "-l", "info"], "celery beat"),
        (["/venv/bin/celery", "-A", "x", "worker", "-B"], "celery worker with beat"),
        (["/venv/bin/python", "/venv/bin/celery", "-A", "x", "worker"], ""),
        (["[celery beat] -A x beat"], "celery beat"),
        (["periodiq", "-v", "module"], "periodiq"),
        (["python", "manage.py", "crontab"], "dramatiq-crontab"),
        (["python", "manage.py", "runapscheduler"], "APScheduler"),
        (["python", "-m", "dramatiq", "tasks"], "dramatiq"),
        (["vim", "beat.py"], ""),
        (["grep", "-r", "celery beat"], ""),
        (["python", "manage.py", "runserver"], ""),
        ([], ""),
    ],
)
def test_command_lines_that_schedule(command: list[str], kind: str) -> None:
    assert schedulers.kind_of(command) == kind


def test_late_messages_on_rabbitmq_are_not_said_to_be_parked(shop: Shop) -> None:
    """What the transfer counts is the same; what happens to such a message is not."""
    shop.run("from jobs.old_celery import pack_order; pack_order.apply_async((1,), countdown=7200)")
    installed = replace(shop.plan, project=replace(shop.plan.project, install_package="migrator.tasks"))
    report = messages.guard(context(shop, plan=installed))
    assert codes(report) == set()
    assert "ETA-PARKED" in codes(report, Severity.WARNING)

"""Guard of the unified app: a probe imports it and compares its settings with the plan."""

from __future__ import annotations

from dataclasses import replace

from guard_context import codes, context
from shop import Shop

from migrator.plan.loader import load_plan
from migrator.report import Severity
from migrator.steps.guards import worker_probe


def settings_of_the_shop(shop: Shop, *lines: str) -> None:
    """Change the unified app as a careless project would."""
    file = shop.folder / "src/jobs/unified.py"
    file.write_text("\n".join((file.read_text(), *lines, "")))


def test_the_worker_probe_shows_what_settings_would_spoil(shop: Shop) -> None:
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

"""Messages outside of the plan's queues stop a cutover; beside single tasks only theirs do."""

from __future__ import annotations

from dataclasses import replace

from guard_context import codes, context
from shop import Shop, options

from migrator.report import Severity
from migrator.steps.guards import queues

ELSEWHERE = "from jobs.old_celery import pack_order; pack_order.apply_async((1,), queue='elsewhere')"


def test_nothing_is_said_of_the_plans_own_queues(shop: Shop) -> None:
    shop.run("from jobs.old_celery import pack_order; pack_order.delay(1)")
    assert not queues.guard(context(shop)).findings


def test_a_queue_that_the_plan_does_not_name_stops_the_cutover(shop: Shop) -> None:
    shop.run(ELSEWHERE)
    report = queues.guard(context(shop))
    assert codes(report) == {"QUEUE-OUTSIDE"}
    assert 'queues = ["celery", "elsewhere"] under [legacy.celery]' in report.findings[0].remedy


def test_beside_single_tasks_only_their_messages_count(shop: Shop) -> None:
    shop.run(ELSEWHERE)
    others = replace(context(shop), options=options(tasks=("jobs.mail",)))
    theirs = replace(context(shop), options=options(tasks=("jobs.pack",)))
    assert not queues.guard(others).findings
    assert codes(queues.guard(theirs)) == {"QUEUE-OUTSIDE"}


def test_a_server_that_does_not_answer_is_reported_by_another_guard(shop: Shop) -> None:
    away = replace(shop, environ={**shop.environ, "SHOP_BROKER": "redis://127.0.0.1:1/0"})
    assert codes(queues.guard(context(away)), Severity.ERROR) == set()

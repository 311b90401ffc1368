"""The legacy aliases: what comes late under a legacy name runs once, as the unified task, and is counted."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from shop import Shop, eventually, options, orders_done, pass_time, start_legacy, with_net

from migrator.errors import AdaptationError
from migrator.plan.arguments import adapt
from migrator.plan.model import Operation, OperationKind, TaskMapping
from migrator.runner import cutover
from migrator.runner.complete import complete, take_down
from migrator.runner.report import RunOutcome
from migrator.tasks import legacy_aliases as worker_side
from migrator.wire.message import Side, System
from migrator.workers import legacy_aliases
from migrator.workers.drivers.process_identity import wait_gone
from migrator.workers.drivers.process_record import read_record
from migrator.workers.start_stop import start_side

LATE = """
import os
from celery import Celery, chain, signature
late = Celery(broker=os.environ["SHOP_BROKER"])
name = "jobs.old_celery.pack_order"
"""


@pytest.mark.acceptance
def test_late_legacy_names_run_once_and_a_rollback_gives_the_queue_back(shop: Shop) -> None:
    shop = with_net(shop)
    start_legacy(shop)
    report = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert report.outcome is RunOutcome.DONE, report.failure

    shop.run(
        LATE
        + "for number in range(10): late.send_task(name, (number,))\n"
        + "late.send_task(name, kwargs={'order': 10})\n"
        + "first, second = (signature(name, (number,), app=late, immutable=True) for number in (11, 12))\n"
        + "chain(first, second)()\n"
        + "late.send_task(name, (13,), countdown=900)\n"
        + "late.send_task('jobs.old_celery.nobody', (14,))\n"
    )
    eventually(lambda: orders_done(shop) == list(range(13)), timeout_s=60)
    assert all(line.startswith("unified pack ") for line in shop.done())
    hits = {hit.name: hit.count for hit in legacy_aliases.hits(shop.plan, shop.environ)}
    assert hits == {"jobs.old_celery.pack_order": 14}
    spooled = [json.loads(file.read_text()) for file in shop.folder.rglob("*.json") if "nobody" in file.read_text()]
    assert [record["task_name"] for record in spooled] == ["jobs.old_celery.nobody"], "an unknown name is kept whole"

    looked = complete(shop.plan, environ=shop.environ, options=options(dry_run=True))
    assert {"COMPLETE-ALIAS-HITS"} <= {finding.code for finding in looked.findings}
    assert any("jobs.old_celery.pack_order: 14, last " in note for note in looked.notes), looked.notes
    pass_time(shop, 3000)
    with time_machine.travel(time.time() + 3000, tick=True):
        later = {f.code for f in complete(shop.plan, environ=shop.environ, options=options(dry_run=True)).findings}
    assert later == {"COMPLETE-ALIAS-HITS", "COMPLETE-LEFT"}, "one is due in 900 s"
    pass_time(shop, 25 * 3600 - 3000)
    with time_machine.travel(time.time() + 25 * 3600, tick=True):
        later = {f.code for f in complete(shop.plan, environ=shop.environ, options=options(dry_run=True)).findings}
    assert later == {"COMPLETE-LEFT"}

    # A worker that starts later finds the net by itself.
    record = read_record(shop.plan, "new-worker")
    assert record is not None
    os.kill(record.pid, signal.SIGTERM)
    assert not wait_gone((record.identity,), timeout_s=30)
    start_side(shop.plan, Side.UNIFIED, environ=shop.environ, names=["new-worker"])
    shop.run(LATE + "late.send_task(name, (20,))")
    eventually(lambda: 20 in orders_done(shop), timeout_s=60)

    # What `complete` does with the workers, and back.
    worker = next(process for process in shop.plan.processes if process.name == "new-worker")
    take_down(shop.plan, shop.environ)
    assert legacy_aliases.missing(shop.plan, worker, environ=shop.environ) == ("celery",)
    legacy_aliases.enable(shop.plan, shop.environ)
    legacy_aliases.consume(shop.plan, worker, environ=shop.environ)
    eventually(lambda: not legacy_aliases.missing(shop.plan, worker, environ=shop.environ))

    report = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert report.outcome is RunOutcome.DONE, report.failure
    with shop.redis() as client:
        assert not client.exists(worker_side.QUEUES, worker_side.TABLE)
    shop.run(LATE + "late.send_task(name, (30,))")
    eventually(lambda: any(line == "celery pack 30" for line in shop.done()), timeout_s=60)
    assert orders_done(shop) == [*range(13), 20, 30], "nothing ran twice, and the one due later still waits"
    with shop.redis() as client:
        eventually(lambda: client.hlen("unacked") + client.llen("celery") == 1)


def test_both_sides_mean_the_same_keys() -> None:
    assert legacy_aliases.KEYS == (worker_side.QUEUES, worker_side.TABLE, worker_side.HITS, worker_side.LAST)


PARAMETERS = ("a", "b", "c")
VALUES = st.one_of(st.none(), st.integers(), st.text(max_size=3))


@st.composite
def mappings(draw: st.DrawFn) -> TaskMapping:
    operations = []
    for name in PARAMETERS:
        kind = draw(st.sampled_from([None, OperationKind.RENAME, OperationKind.WRAP, OperationKind.DROP]))
        if kind is not None:
            operations.append(Operation(kind=kind, name=name, to=f"new_{name}", reason="given"))
    if draw(st.booleans()):
        operations.append(Operation(kind=OperationKind.CONSTANT, name="fixed", value=draw(VALUES)))
    return TaskMapping(
        system=System.CELERY,
        name="old",
        path="old",
        parameters=PARAMETERS,
        operations=tuple(operations),
        unified="new",
        primary=True,
    )


@given(
    mapping=mappings(),
    args=st.lists(VALUES, max_size=4),
    kwargs=st.dictionaries(st.sampled_from([*PARAMETERS, "d"]), VALUES, max_size=3),
)
def test_the_worker_adapts_arguments_as_everybody_else_does(
    mapping: TaskMapping, args: list[Any], kwargs: dict[str, Any]
) -> None:
    alias = {"parameters": mapping.parameters, "arguments": list(legacy_aliases._arguments(mapping))}
    try:
        expected = adapt(mapping, args, kwargs)
    except AdaptationError:
        with pytest.raises(ValueError, match="argument"):
            worker_side.adapt(alias, args, kwargs)
    else:
        got = worker_side.adapt(alias, args, kwargs)
        assert (tuple(got[0]), got[1]) == expected

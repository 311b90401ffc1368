"""What is left of before the cutover is recognised, also as a retry, and real policies give the horizon."""

from __future__ import annotations

from typing import Any

import pytest
from shop import Shop, eventually, options

from migrator.runner.carried import horizon_s, retry_horizons, waiting_carried
from migrator.state.journal import open_journal
from migrator.steps.protocol import Context
from migrator.steps.transfer import move
from migrator.transfer.options import Direction
from migrator.wire.message import Side
from migrator.workers.start_stop import start_side, stop_side

DRAMATIQ = {"most": 20, "first_s": 15.0, "longest_s": 604_800.0, "doubles": True, "sum_s": None, "own": ""}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 3_402_225.0),
        ({"most": 0}, 0.0),
        ({"most": None}, float("inf")),
        ({"doubles": False, "most": 3, "first_s": 180.0}, 540.0),
        ({"sum_s": 420.0}, 420.0),
    ],
)
def test_the_horizon_is_the_sum_of_the_waits(changed: dict[str, Any], expected: float) -> None:
    assert horizon_s({**DRAMATIQ, **changed}) == expected


def test_a_retry_of_a_moved_message_is_of_before_and_a_native_one_is_not(shop: Shop) -> None:
    app = shop.folder / "src/jobs/unified.py"
    body = 'def pack(order, delay_s=0):\n    done("unified", "pack", order, delay_s)\n'
    retried = "def pack(self, order, delay_s=0):\n    raise self.retry(countdown=900)\n"
    text = app.read_text().replace('@app.task(name="jobs.pack")', '@app.task(bind=True, name="jobs.pack")')
    assert body in text
    app.write_text(text.replace(body, retried))
    shop.run("from jobs.old_celery import pack_order; pack_order.delay(1)")
    context = Context(plan=shop.plan, environ=shop.environ, journal=open_journal(shop.plan), run=1, options=options())
    assert move(context, Direction.FORWARD)["moved"] == 1
    assert waiting_carried(shop.plan, environ=shop.environ)[0] == {("unified", "ready"): 1}
    shop.run("from jobs.unified import mail; mail.apply_async(([],), countdown=900, queue='unified')")
    start_side(shop.plan, Side.UNIFIED, environ=shop.environ, names=["new-worker"])
    try:
        eventually(lambda: waiting_carried(shop.plan, environ=shop.environ)[0] == {("unified", "retrying"): 1})
        assert waiting_carried(shop.plan, environ=shop.environ)[1] is not None
    finally:
        stop_side(shop.plan, Side.UNIFIED, environ=shop.environ, names=["new-worker"])


def test_an_app_that_cant_be_imported_has_an_unknown_horizon(shop: Shop) -> None:
    (shop.folder / "src/jobs/unified.py").write_text("1 / 0\n")
    (told,) = retry_horizons(shop.plan, environ=shop.environ)
    assert "is unknown" in told
    assert "ZeroDivisionError" in told

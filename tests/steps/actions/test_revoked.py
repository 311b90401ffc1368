"""A call that was revoked before the cutover is revoked for the workers after it, and again after a rollback."""

from __future__ import annotations

import pytest
from shop import Shop, eventually, options, start_legacy

from migrator.runner import cutover
from migrator.runner.report import RunOutcome
from migrator.wire.message import System
from migrator.workers import celery_control

REVOKE = """
from jobs.old_celery import pack_order
first = pack_order.apply_async((1,), countdown=900)
first.revoke()
print(first.id)
"""


def known(shop: Shop, side: str) -> set[str]:
    """Return the calls that a side's workers have been told not to run."""
    endpoint = shop.plan.unified if side == "unified" else shop.plan.endpoint(System.CELERY)
    assert endpoint is not None
    with celery_control.control(endpoint, shop.environ) as app:
        return {identity for found in celery_control.ask_all(app, "revoked").values() for identity in found}


@pytest.mark.acceptance
def test_what_was_revoked_stays_revoked_there_and_back(shop: Shop) -> None:
    start_legacy(shop)
    identity = shop.run(REVOKE).strip()
    eventually(lambda: identity in known(shop, "legacy"))
    over = cutover.cutover(shop.plan, environ=shop.environ, options=options())
    assert over.outcome is RunOutcome.DONE, over.failure
    assert identity in known(shop, "unified")
    back = cutover.rollback(shop.plan, environ=shop.environ, options=options())
    assert back.outcome is RunOutcome.DONE, back.failure
    eventually(lambda: identity in known(shop, "legacy"))

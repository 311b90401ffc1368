"""Guard of the process managers: whoever starts the processes, healthy ones give it nothing to object to."""

from __future__ import annotations

import pytest
from guard_context import context
from shop import Shop, eventually, start_legacy
from supervised import supervised_shop

from migrator.plan.processes import Driver
from migrator.steps.guards import managers


def test_what_is_started_by_us_has_nothing_to_say(shop: Shop) -> None:
    report = managers.guard(context(shop))
    assert (report.findings, report.checked) == ((), 1)


@pytest.mark.acceptance
def test_every_process_of_supervisord_is_checked(shop: Shop) -> None:
    with supervised_shop(shop) as (site, _):
        start_legacy(site, ["old-celery"])
        eventually(lambda: not managers.guard(context(site)).errors)
        report = managers.guard(context(site))
        assert report.checked == len([p for p in site.plan.processes if p.driver is Driver.SUPERVISOR]) > 1
        assert report.findings == ()

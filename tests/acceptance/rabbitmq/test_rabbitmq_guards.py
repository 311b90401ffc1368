"""What the preflight says about late messages is what happens to them on the broker in use."""

from __future__ import annotations

import pytest
from rabbit_scene import RabbitScene

from migrator.report import Severity
from migrator.state.journal import open_journal
from migrator.steps.guards import messages
from migrator.steps.protocol import Context

SAID = {"ETA-PARKED", "ETA-BEYOND-CONSUMER-TIMEOUT", "ETA-BEYOND-VISIBILITY"}


@pytest.mark.parametrize(
    ("servers", "expected", "severity", "moved"),
    [
        ("rabbit_only", "ETA-BEYOND-CONSUMER-TIMEOUT", Severity.WARNING, 2),
        # The scene has no app that could be asked, so nobody releases what is parked.
        ("to_redis", "ETA-BEYOND-VISIBILITY", Severity.ERROR, 1),
    ],
)
def test_a_late_message_is_delivered_again_on_rabbitmq_and_kept_from_redis_where_nobody_releases_it(
    request: pytest.FixtureRequest, servers: str, expected: str, severity: Severity, moved: int
) -> None:
    scene: RabbitScene = request.getfixturevalue(servers)
    scene.apply("fetch_yahoo_stocks_task", countdown=7200)
    scene.apply("fetch_yahoo_stocks_task")
    context = Context(plan=scene.plan, environ=scene.environ, journal=open_journal(scene.plan), run=1)
    report = messages.guard(context)
    (found,) = (finding for finding in report.findings if finding.code in SAID)
    assert (found.code, found.severity) == (expected, severity)
    assert found.what.startswith("1 are due late")
    assert report.facts["would_move"] == moved

"""Does a server hold messages outside of the plan's queues? Nobody would run them after the cutover."""

from __future__ import annotations

from migrator.brokers.outside import outside_places, place_findings
from migrator.errors import MigratorError
from migrator.report import Report
from migrator.steps.protocol import Context, findings_report


def guard(context: Context) -> Report:
    """Return each place outside of the plan that holds messages; beside single tasks only theirs."""
    try:
        places = outside_places(context.plan, context.environ, only=frozenset(context.options.tasks))
    except MigratorError:
        # The guard of the brokers reports a server that does not answer.
        return findings_report("queues outside of the plan", ())
    return findings_report("queues outside of the plan", place_findings(context.plan, places))

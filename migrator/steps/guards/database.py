"""Does the database answer, and what is there to migrate?"""

from __future__ import annotations

from migrator.errors import MigratorError
from migrator.report import Report
from migrator.steps.migrate_database import migrations
from migrator.steps.protocol import Context, error, findings_report


def guard(context: Context) -> Report:
    """Return whether the app's migrations can be listed, and which are open."""
    label = context.plan.project.app_label
    if not label:
        return findings_report("database", [])
    try:
        applied, unapplied = migrations(context)
    except MigratorError as failure:
        finding = error("DATABASE-UNREACHABLE", failure.where, failure.what, found=failure.found, remedy=failure.remedy)
        return findings_report("database", [finding])
    findings = []
    if not applied and not unapplied:
        findings.append(
            error("DATABASE-NO-MIGRATIONS", f"app {label}", "has no migrations", remedy="is it in INSTALLED_APPS?")
        )
    return findings_report("database", findings, migrations_applied=applied, migrations_open=unapplied)

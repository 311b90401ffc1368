"""Ask the project's routers where the models of the unified app go (:mod:`migrator.agent.app_database`)."""

from __future__ import annotations

from collections.abc import Mapping

from migrator.errors import RefusedError
from migrator.plan.model import Plan
from migrator.project.commands import ask_agent

DEFAULT = "default"


def app_database(plan: Plan, *query: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the database that the project's routers send the app to, and what a query on its models finds wrong.

    Args:
        plan: Names the app.
        query: The word ``query`` for that query.
        environ: For the project.

    Raises:
        UnreachableError: The project's interpreter can't run the project.
        ProjectCodeError: The settings can't be imported.
        RefusedError: The routers send its models to several databases.
    """
    label = plan.project.app_label
    words = (plan.project.settings, label, *query)
    found = ask_agent(plan, "app_database", *words, folder=plan.source_root, environ=environ)
    databases = found["databases"] or [DEFAULT]
    if len(databases) > 1:
        what, remedy = "its models go to several databases", "let db_for_write of the routers give all of them one"
        raise RefusedError(f"app {label}", what, found=", ".join(databases), remedy=remedy)
    return databases[0], tuple(found["missing"])

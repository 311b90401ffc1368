"""Ask the project's routers where the models of the unified app go (:mod:`migrator.agent.app_database`)."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from migrator.errors import RefusedError, UnreachableError
from migrator.plan.model import Plan
from migrator.project.commands import ask_script, last_lines

DEFAULT = "default"


def app_database(plan: Plan, *query: str, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the database that the project's routers send the app to, and what a query on its models finds wrong.

    Args:
        plan: Names the app.
        query: The word ``query`` for that query.
        environ: For the project.

    Raises:
        UnreachableError: The settings can't be imported.
        RefusedError: The routers send its models to several databases.
    """
    label, folder = plan.project.app_label, plan.source_root
    words = (plan.project.settings, label, *query)
    code, answer, errors = ask_script(plan, "app_database", *words, folder=folder, environ=environ)
    if code != 0:
        raise UnreachableError(str(folder), "the project can't be imported", found=last_lines(errors))
    found = orjson.loads(answer)
    databases = found["databases"] or [DEFAULT]
    if len(databases) > 1:
        what, remedy = "its models go to several databases", "let db_for_write of the routers give all of them one"
        raise RefusedError(f"app {label}", what, found=", ".join(databases), remedy=remedy)
    return databases[0], tuple(found["missing"])

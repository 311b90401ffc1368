"""What must still be as it was when a run was begun, before a run goes on or is rolled back.

The plan and the source, and where the messages and the tables lie: a shell that lacks a variable, or has another one,
would otherwise make a rollback empty queues of another server. Places are recorded without user and password.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from migrator.errors import RefusedError
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.project.commands import manage
from migrator.runner.state import MigrationState, RunState
from migrator.state.journal import EntryKind, JournalEntry, Phase
from migrator.state.proof import source_digest
from migrator.steps.protocol import Context
from migrator.wire.broker_url import BrokerKind, read_broker_url

_DATABASES = (
    "import json; from django.conf import settings; "
    "print(json.dumps({a: '%s@%s:%s' % (d.get('NAME'), d.get('HOST') or '', d.get('PORT') or '') "
    "for a, d in settings.DATABASES.items()}))"
)


def begun_with(plan: Plan, *, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what a new run records about what it begins with: source, brokers and databases, without secrets."""
    brokers = {_name(endpoint): place_of(endpoint, environ) for endpoint in (*plan.legacy, plan.unified)}
    return {"source": source_digest(plan), "brokers": brokers, "databases": _databases(plan, environ)}


def place_of(endpoint: Endpoint, environ: Mapping[str, str]) -> str:
    """Return an endpoint's URL as one says it to another: no user, no password, default port and database written."""
    read = read_broker_url(endpoint_url(endpoint, environ))
    if read.socket:
        return f"{read.scheme}://{read.socket}?virtual_host={read.database}"
    host = "127.0.0.1" if read.host == "localhost" else read.host
    space = read.virtual_host.removeprefix("/") if read.kind is BrokerKind.RABBITMQ else read.database
    return f"{read.scheme}://{host}:{read.port}/{space}"


def require_same_plan(plan: Plan, state: RunState) -> None:
    """Refuse a plan that changed in mid-run.

    Raises:
        RefusedError: It is not the one with which the run was begun.
    """
    in_flight = state.state in (MigrationState.MIGRATING, MigrationState.MIGRATED, MigrationState.ROLLING_BACK)
    if in_flight and state.plan != plan.fingerprint:
        raise RefusedError(
            str(plan.file),
            f"is not the plan with which run {state.run} was begun",
            found=f"{plan.fingerprint[:12]} instead of {state.plan[:12]}",
            remedy="put the plan back as it was, finish or roll back the run, then change it",
        )


def require_same_source(context: Context, state: RunState) -> None:
    """Refuse a source that changed in mid-run, as long as the run has not changed it itself.

    Raises:
        RefusedError: Somebody has changed it.
    """
    before = _begun(context).get("source")
    if "retire_files" not in state.begun and before not in (None, source_digest(context.plan)):
        raise RefusedError(
            str(context.plan.source_root),
            f"is not the source with which run {state.run} was begun",
            remedy="put it back with git and run again, or `migrator rollback`",
        )


def require_same_places(context: Context, state: RunState) -> None:
    """Refuse if today's environment points to another broker or database than the one that the run was begun with.

    Raises:
        RefusedError: It does; each difference is named, with the variable that decides.
    """
    begun = _begun(context)
    problems = []
    for endpoint in (*context.plan.legacy, context.plan.unified):
        before, now = begun.get("brokers", {}).get(_name(endpoint)), place_of(endpoint, context.environ)
        if before not in (None, now):
            problems.append(f"{_name(endpoint)}.broker was {before} and is {now} ({endpoint.url})")
    if begun.get("databases") and "migrate_database" in state.begun and "migrate_database" not in state.undone:
        today = _databases(context.plan, context.environ)
        for alias, before in begun["databases"].items():
            if today.get(alias) != before:
                problems.append(f"database {alias} was {before} and is {today.get(alias, 'not set')}")
    if problems:
        raise RefusedError(
            f"run {state.run}",
            "was begun with other servers than today's environment names",
            found="; ".join(problems),
            remedy="export the variables as they were then, and run the same command again; nothing was changed",
        )


def _begun(context: Context) -> Mapping[str, Any]:
    lines: tuple[JournalEntry, ...] = context.journal.entries(context.run)
    return next((line.data for line in lines if line.mark is EntryKind.RUN_BEGUN and line.phase is Phase.FORWARD), {})


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.side.value}.{endpoint.system.value}"


def _databases(plan: Plan, environ: Mapping[str, str]) -> dict[str, str]:
    """Ask the project's settings; opens no connection."""
    output = manage(plan, "shell", "--command", _DATABASES, environ=environ)
    found: dict[str, str] = orjson.loads(output.strip().splitlines()[-1])
    return found

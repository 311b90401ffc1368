"""Calls that were revoked stay revoked: a worker knows them in its memory only, and the next one has to be told.

Source: celery/worker/state.py (``revoked``), celery/worker/control.py (``revoked``, ``revoke``).
"""

from __future__ import annotations

from functools import partial

from migrator.plan.model import Endpoint
from migrator.plan.processes import Process
from migrator.state.journal import EntryKind
from migrator.steps.protocol import Action, Context, Facts
from migrator.wire.message import System
from migrator.workers import celery_control, drain
from migrator.workers.signs import endpoint_of

#: The fact that holds their ids.
REVOKED = "revoked"


def note_actions(context: Context, workers: tuple[Process, ...], successors: Endpoint | None) -> tuple[Action, ...]:
    """Return actions that ask workers for what they have been told not to run, and tell it to the running others.

    Args:
        context: The run.
        workers: Those that are about to stop.
        successors: Where the workers listen that take over; None if they don't run yet.
    """
    celery = [process for process in workers if process.system is System.CELERY]
    return tuple(
        Action(
            id=f"revoked:{process.name}",
            sentence=f"note which calls {process.name} has been told not to run",
            run=partial(_note, context, process, successors),
        )
        for process in celery
    )


def tell_again(context: Context, endpoint: Endpoint | None) -> tuple[Action, ...]:
    """Return the action that tells the workers of an endpoint every such call that this run has noted."""
    if endpoint is None or endpoint.system is not System.CELERY:
        return ()
    sentence = "tell the workers which calls they are not to run"
    return (Action(id="revoke", sentence=sentence, run=partial(_tell, context, endpoint)),)


def _note(context: Context, process: Process, successors: Endpoint | None) -> Facts:
    nodes = drain.node_names(context.plan, process, environ=context.environ)
    endpoint = endpoint_of(context.plan, process)
    if not nodes or endpoint is None:
        return {REVOKED: ()}
    with celery_control.control(endpoint, context.environ) as app:
        told = [identity for node in nodes for identity in celery_control.ask(app, node, "revoked") or ()]
    found = tuple(dict.fromkeys(told))
    if found and successors is not None:
        _revoke(context, successors, found)
    return {REVOKED: found}


def _tell(context: Context, endpoint: Endpoint) -> Facts:
    lines = (line for line in context.journal.entries(context.run) if line.mark is EntryKind.DONE)
    ids = tuple(dict.fromkeys(identity for line in lines for identity in line.data.get(REVOKED, ())))
    if ids:
        _revoke(context, endpoint, ids)
    return {"told": len(ids)}


def _revoke(context: Context, endpoint: Endpoint, ids: tuple[str, ...]) -> None:
    with celery_control.control(endpoint, context.environ) as app:
        celery_control.ask_all(app, "revoke", task_id=list(ids))

"""The one-way door: say when it may be gone through, and go through it.

A rollback is worth having until everything that was carried over has had its turn: until the last delayed message
was due, and for as long as a failed task may still retry. That quiet time is computed and said. Then the keys that
only a rollback needs are deleted by their exact names, and the run is closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from migrator.brokers import connect
from migrator.brokers.redis_keys import LEDGER, kept_key
from migrator.errors import ExitCode
from migrator.events import Listener, ignore
from migrator.journal import Entry, Mark, Phase, entry, open_journal, run_lock
from migrator.message import State, System
from migrator.plan import Endpoint, Plan, Side
from migrator.report import Finding, Report
from migrator.runner_report import ActionResult, RunOutcome, RunReport, StepResult
from migrator.runner_state import MigrationState, read_state
from migrator.steps import Context, RunOptions
from migrator.steps.protocol import error, findings_report
from migrator.workers.dramatiq_control import connection
from migrator.workers.side import list_processes

#: The unified tasks wait 60, 120, 240 … seconds between attempts.
FIRST_RETRY_S = 60.0


def complete(
    plan: Plan, *, environ: Mapping[str, str], options: RunOptions | None = None, listener: Listener = ignore
) -> RunReport:
    """Close the last run for good; with ``options.dry_run`` only say whether and from when that may be done.

    Raises:
        RefusedError: Another run is going on.
    """
    options = options or RunOptions()
    journal = open_journal(plan)
    run = read_state(journal.entries()).run
    context = Context(plan=plan, environ=environ, journal=journal, run=run, options=options, listener=listener)
    if options.dry_run:
        return _complete(context)
    with run_lock(plan, "complete"):
        return _complete(context)


def retry_horizon_s(plan: Plan) -> float:
    """Return how long after its first failure a task may still retry."""
    most = max((task.max_retries or 0 for task in plan.tasks), default=0)
    return FIRST_RETRY_S * float(2**most - 1)


def quiet_until(plan: Plan, entries: tuple[Entry, ...]) -> float:
    """Return from when on the last run may be closed, in seconds since the epoch."""
    done_at = max((line.at.timestamp() for line in entries if line.mark is Mark.RUN_DONE), default=time.time())
    due = [line.data.get("longest_eta_at") for line in entries if line.step == "verify" and line.mark is Mark.DONE]
    return max([done_at, *(float(eta) for eta in due if eta)]) + retry_horizon_s(plan)


def _complete(context: Context) -> RunReport:
    state = read_state(context.journal.entries())
    if state.state is MigrationState.COMPLETED:
        return _answer(context, RunOutcome.UNCHANGED, notes=("the migration is complete already",))
    looked = _look(context)
    actions = [(f"delete:{key}", f"delete {key} at {where}") for where, key in _keys(context)]
    results = tuple(ActionResult(id=name, sentence=sentence, outcome="planned") for name, sentence in actions)
    step = StepResult(name="complete", title="Close the way back", outcome="planned", actions=results)
    if context.options.dry_run or looked.errors:
        outcome = RunOutcome.PLANNED if context.options.dry_run else RunOutcome.REFUSED
        code = ExitCode.REFUSED if looked.errors else ExitCode.CLEAN
        report = replace(_answer(context, outcome), steps=(step,), exit_code=code)
        return replace(report, findings=looked.findings, facts=looked.facts)
    for endpoint in (*context.plan.legacy, context.plan.unified):
        with connection(endpoint, context.environ) as client:
            if client is not None:
                client.unlink(*_keys_of(context.plan, endpoint))
    context.journal.write(entry(context.run, Phase.FORWARD, Mark.RUN_CLOSED))
    done = replace(step, outcome="done", actions=tuple(replace(result, outcome="done") for result in results))
    report = replace(_answer(context, RunOutcome.DONE), steps=(done,), facts=looked.facts, findings=looked.findings)
    return replace(report, notes=(f"snapshots and journal stay in {context.plan.state_folder}",))


def _look(context: Context) -> Report:
    plan, entries = context.plan, context.journal.entries(context.run)
    from_at = quiet_until(plan, entries)
    facts: dict[str, Any] = {
        "quiet_until": datetime.fromtimestamp(from_at, UTC).isoformat(timespec="seconds"),
        "retry_horizon_s": retry_horizon_s(plan),
    }
    state = read_state(context.journal.entries()).state
    if state is not MigrationState.MIGRATED:
        finding = error("COMPLETE-NOT-MIGRATED", "journal", "nothing is migrated", found=state.value, remedy="cutover")
        return findings_report("complete", [finding], **facts)
    findings = [*_too_early(from_at), *_running(context)]
    for endpoint in plan.legacy:
        findings += _left(context, endpoint)
    return findings_report("complete", findings, **facts)


def _too_early(from_at: float) -> Iterator[Finding]:
    left_s = from_at - time.time()
    if left_s > 0:
        yield error(
            "COMPLETE-TOO-EARLY",
            "quiet time",
            f"has {left_s / 60:.0f} minutes to go",
            found=f"until {datetime.fromtimestamp(from_at, UTC):%Y-%m-%d %H:%M} UTC",
            remedy="wait: until then a carried message may still be due or retry, and a rollback is worth having",
        )


def _running(context: Context) -> Iterator[Finding]:
    for state in list_processes(context.plan, environ=context.environ):
        if state.side is Side.LEGACY and state.state != "stopped":
            yield error(
                "COMPLETE-LEGACY-RUNS", f"process {state.name}", f"is {state.state}", remedy="migrator workers stop"
            )


def _left(context: Context, endpoint: Endpoint) -> Iterator[Finding]:
    remedies = {
        State.DEAD: "`migrator dlq import` takes them into the unified dead letters",
        State.KEPT: "decide about them; --discard-kept drops them here, they stay in the snapshots",
    }
    with closing(connect(endpoint, context.environ)) as broker:
        for (queue, state), count in broker.depths().items():
            if not count or (state is State.KEPT and context.options.discard_kept):
                continue
            yield error(
                "COMPLETE-LEFT",
                f"{endpoint.system.value} queue {queue}",
                f"still holds {count} {state.value} messages",
                remedy=remedies.get(state, "somebody still sends legacy messages: find who, then `migrator cutover`"),
            )


def _keys(context: Context) -> Iterator[tuple[str, str]]:
    for endpoint in (*context.plan.legacy, context.plan.unified):
        for key in _keys_of(context.plan, endpoint):
            yield f"{endpoint.side.value}.{endpoint.system.value}", key


def _keys_of(plan: Plan, endpoint: Endpoint) -> tuple[str, ...]:
    """Return the keys that only a rollback or legacy workers need; never one of a unified queue."""
    keys = [kept_key(endpoint), LEDGER]
    if endpoint.side is Side.LEGACY and endpoint.system is System.CELERY:
        keys += [f"_kombu.binding.{queue}" for queue in endpoint.queues if queue not in plan.unified.queues]
    if endpoint.system is System.DRAMATIQ:
        keys.append(f"{endpoint.namespace}:__heartbeats__")
    return tuple(keys)


def _answer(context: Context, outcome: RunOutcome, notes: tuple[str, ...] = ()) -> RunReport:
    return RunReport(
        command="complete",
        run=context.run,
        outcome=outcome,
        exit_code=ExitCode.CLEAN,
        notes=notes,
        cannot_undo=("after this there is no rollback",),
        next_steps=("migrator status",),
    )

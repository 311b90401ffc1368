"""The one-way door: say when it may be gone through, and go through it.

A rollback is worth having until every message that was transferred has had its turn: none waits, is parked, held by a
worker, or retried. How long a failed task may go on being retried is printed, not waited for. Where legacy aliases are
on, they must also have caught nothing for a while: who sent under a legacy name yesterday may do so today. Then the
workers leave the legacy queues, the keys that only a rollback or the legacy aliases need are deleted by their exact
names, and the run is closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

from migrator.brokers.connect import connect, is_on_rabbitmq
from migrator.brokers.rabbitmq.cleanup import removable, remove
from migrator.brokers.rabbitmq.server import RabbitmqServer
from migrator.brokers.redis.heartbeats import connection
from migrator.brokers.redis.keys import LEDGER, RUNS, STEPS, quarantine_key
from migrator.errors import ExitCode
from migrator.events import Listener, ignore
from migrator.plan.model import Endpoint, Plan
from migrator.plan.placeholders import endpoint_url
from migrator.plan.processes import Role
from migrator.project.legacy_tree import legacy_trees, remove_legacy_trees
from migrator.report import Finding, Report
from migrator.runner.carried import carried, retry_horizons
from migrator.runner.held_run import held_run
from migrator.runner.quiet_period import QuietPeriod, by_task, iso, quiet_period, reasons, utc
from migrator.runner.report import ActionResult, RunOutcome, RunReport, StepResult
from migrator.runner.state import MigrationState, read_state
from migrator.state.journal import EntryKind, Phase, entry, open_journal
from migrator.steps.protocol import Context, RunOptions, error, findings_report, staying
from migrator.transfer.ledger import Ledger
from migrator.transfer.scope import planned_depths, waiting_tasks
from migrator.wire.message import Side, State, System
from migrator.workers import legacy_aliases
from migrator.workers.start_stop import list_processes


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
    with held_run(context, "complete") as (held, _):
        return _complete(held)


def _complete(context: Context) -> RunReport:
    state = read_state(context.journal.entries())
    if state.state is MigrationState.COMPLETED:
        return _answer(context, RunOutcome.UNCHANGED, notes=("the migration is complete already",))
    looked = _look(context)
    actions = [(f"delete:{key}", f"delete {key} at {where}") for where, key in _keys(context)]
    actions += [(f"remove:{tree.name}", f"remove the worktree {tree}") for tree in legacy_trees(context.plan)]
    results = tuple(ActionResult(id=name, sentence=sentence, outcome="planned") for name, sentence in actions)
    step = StepResult(name="complete", title="Remove what only a rollback needs", outcome="planned", actions=results)
    if context.options.dry_run or looked.errors:
        outcome = RunOutcome.PLANNED if context.options.dry_run else RunOutcome.REFUSED
        code = ExitCode.REFUSED if looked.errors else ExitCode.CLEAN
        notes = tuple(looked.facts.get("quiet_because", ()))
        report = replace(_answer(context, outcome, notes), steps=(step,), exit_code=code)
        return replace(report, findings=looked.findings, facts=looked.facts)
    if context.plan.cutover.legacy_aliases:
        take_down(context.plan, context.environ)
    for endpoint in (*context.plan.legacy, context.plan.unified):
        if is_on_rabbitmq(endpoint, context.environ):
            remove(RabbitmqServer(endpoint_url(endpoint, context.environ)), endpoint, keep=bool(context.plan.scope))
            continue
        with connection(endpoint, context.environ) as client:
            if client is not None:
                client.unlink(*_keys_of(context.plan, endpoint))
    with Ledger.open(context.plan.state_folder / "book.sqlite3") as book:
        book.forget_marks()
    remove_legacy_trees(context.plan, environ=context.environ)
    context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.RUN_CLOSED))
    done = replace(step, outcome="done", actions=tuple(replace(result, outcome="done") for result in results))
    report = replace(_answer(context, RunOutcome.DONE), steps=(done,), facts=looked.facts, findings=looked.findings)
    return replace(report, notes=(f"snapshots and journal stay in {context.plan.state_folder}",))


def take_down(plan: Plan, environ: Mapping[str, str]) -> None:
    """Let the unified workers leave the legacy queues; the keys of the legacy aliases go with the others."""
    legacy_aliases.forget_queues(plan, environ)
    for worker in plan.select(side=Side.UNIFIED, role=Role.WORKER):
        legacy_aliases.stop_consuming(plan, worker, environ=environ)


def _look(context: Context) -> Report:
    plan, entries = context.plan, context.journal.entries(context.run)
    state = read_state(context.journal.entries()).state
    if state is not MigrationState.MIGRATED:
        finding = error("COMPLETE-NOT-MIGRATED", "journal", "nothing is migrated", found=state.value, remedy="cutover")
        return findings_report("complete", [finding])
    quiet = quiet_period(plan, context.environ, entries)
    facts: dict[str, Any] = {
        "quiet_until": iso(quiet.until),
        "quiet_because": (*reasons(quiet), *retry_horizons(plan, environ=context.environ)),
        "longest_eta_at": iso(quiet.eta_at) if quiet.eta_at else None,
        "legacy_aliases_quiet_s": quiet.legacy_aliases_quiet_s if quiet.aliases_enabled_at else None,
        "alias_hits": {hit.name: {"count": hit.count, "last_at": iso(hit.last_at)} for hit in quiet.hits},
    }
    findings = [*_too_early(quiet), *_carried(context), *_running(context)]
    for endpoint in plan.legacy:
        findings += _left(context, endpoint)
    return findings_report("complete", findings, **facts)


def _too_early(quiet: QuietPeriod) -> Iterator[Finding]:
    now = time.time()
    if quiet.messages_at > now:
        yield error(
            "COMPLETE-TOO-EARLY",
            "quiet period",
            f"has {(quiet.messages_at - now) / 60:.0f} minutes to go",
            found=f"until {utc(quiet.messages_at)}",
            remedy="wait: until then workers may hold a transferred message, which RabbitMQ does not show",
        )
    if quiet.late_at and quiet.names_at > now:
        yield error(
            "COMPLETE-LATE",
            "legacy queues",
            f"must get nothing until {utc(quiet.names_at)}: somebody still sends, such as a second scheduler",
            found=by_task(quiet.late),
            remedy="find and stop who sends these; how long is long enough: legacy_aliases_quiet_s in the plan",
        )
    if quiet.aliases_enabled_at and quiet.names_at > now:
        names = ", ".join(f"{hit.name} ({hit.count}, last {utc(hit.last_at)})" for hit in quiet.hits[:3])
        yield error(
            "COMPLETE-ALIAS-HITS",
            "legacy aliases",
            f"must catch nothing until {utc(quiet.names_at)}",
            found=names or f"nothing so far, they are on since {utc(quiet.aliases_enabled_at)}",
            remedy="redeploy who sends under legacy names; how long is long enough: legacy_aliases_quiet_s in the plan",
        )


def _carried(context: Context) -> Iterator[Finding]:
    """Name what a rollback would still bring back: messages of before the cutover that have not run to their end."""
    left = carried(context.plan, environ=context.environ)
    remedy = "wait until they have run, or `migrator rollback`"
    due = f"the last is due {utc(left.last_eta_at.timestamp())}" if left.last_eta_at else ""
    for (queue, state), count in left.counts.items():
        what = f"still holds {count} {state} messages of before the cutover"
        yield error("COMPLETE-CARRIED", f"unified queue {queue}", what, found=due, remedy=remedy)
    if left.running:
        what = "run, were acknowledged before they began, and may be of before the cutover"
        yield error("COMPLETE-CARRIED", f"tasks {', '.join(left.running)}", what, remedy="run this again when they end")


def _running(context: Context) -> Iterator[Finding]:
    stays = {process.name for process in staying(context)}
    for state in list_processes(context.plan, environ=context.environ):
        if state.side is Side.LEGACY and state.state != "stopped" and state.name not in stays:
            yield error(
                "COMPLETE-LEGACY-RUNS", f"process {state.name}", f"is {state.state}", remedy="migrator workers stop"
            )


def _left(context: Context, endpoint: Endpoint) -> Iterator[Finding]:
    remedies = {
        State.DEAD: "`migrator dlq import-legacy` takes them into the unified dead letters",
        State.QUARANTINED: "decide about them; --discard-quarantined drops them here, they stay in the snapshots",
    }
    with closing(connect(endpoint, context.environ)) as broker:
        for (queue, state), count in planned_depths(context.plan, endpoint, broker).items():
            if not count or (state is State.QUARANTINED and context.options.discard_quarantined):
                continue
            yield error(
                "COMPLETE-LEFT",
                f"{endpoint.system.value} queue {queue}",
                f"still holds {count} {state.value} messages",
                found=by_task(waiting_tasks(broker, queue, state)),
                remedy=remedies.get(state, "somebody still sends legacy messages: find who, then `migrator cutover`"),
            )


def _keys(context: Context) -> Iterator[tuple[str, str]]:
    for endpoint in (*context.plan.legacy, context.plan.unified):
        on_rabbitmq = is_on_rabbitmq(endpoint, context.environ)
        for key in (
            removable(endpoint, keep=bool(context.plan.scope)) if on_rabbitmq else _keys_of(context.plan, endpoint)
        ):
            yield f"{endpoint.side.value}.{endpoint.system.value}", key


def _keys_of(plan: Plan, endpoint: Endpoint) -> tuple[str, ...]:
    """Return the keys that only a rollback or legacy workers need; never one of a unified queue.

    Where the plan has a scope, legacy workers may stay, and so does what they need.
    """
    keys = [quarantine_key(endpoint), LEDGER, RUNS, STEPS]
    if endpoint.side is Side.UNIFIED and plan.cutover.legacy_aliases:
        keys += legacy_aliases.KEYS
    if endpoint.side is Side.LEGACY and endpoint.system is System.CELERY and not plan.scope:
        keys += [
            f"{endpoint.key_prefix}_kombu.binding.{queue}"
            for queue in endpoint.queues
            if queue not in plan.unified.queues
        ]
    if endpoint.system is System.DRAMATIQ and not plan.scope:
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

"""Execute steps: journal before and after each action, skip what is recorded as done, measure.

An action is recorded as started, run, and recorded as done. After a crash in between it runs again, which is why
actions are idempotent. Nothing is undone here; :mod:`migrator.runner` decides that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from migrator.errors import InterruptedRunError, MigratorError, RefusedError
from migrator.events import Event, EventKind
from migrator.report import Report
from migrator.runner.attempt import attempt
from migrator.runner.report import ActionResult, StepResult
from migrator.runner.state import RunState, read_state
from migrator.state.journal import EntryKind, Phase, entry
from migrator.steps import transfer
from migrator.steps.actions.hooks import call_hook
from migrator.steps.protocol import Action, Context, Step, nothing_to_do


class StepFailedError(MigratorError):
    """A step failed; holds the report that says so and the error's own exit code."""

    def __init__(self, step: Step, cause: MigratorError, report: Report | None = None) -> None:
        super().__init__(cause.where, cause.what, found=cause.found, remedy=cause.remedy)
        self.step = step
        self.exit_code = cause.exit_code
        self.report = report


def run_forward(context: Context, step: Step) -> StepResult:
    """Check a step, do its actions, verify it and record it as done; skips what this run has done before.

    Raises:
        StepFailedError: A check, an action or the verification failed.
    """
    state = _state(context)
    if step.name in state.done:
        _tell(context, EventKind.STEP_SKIPPED, step, "was done before")
        return StepResult(name=step.name, title=step.title, outcome="already done")
    began = time.monotonic()
    _tell(context, EventKind.STEP_STARTED, step, step.title)
    with _told(context, step, Phase.FORWARD):
        call_hook(context, f"before-{step.name}")
        if step.name not in state.begun:
            _require(step, step.check(context))
        results = _run_actions(context, step, Phase.FORWARD, step.actions(context), state)
        _require(step, step.verify(context))
        call_hook(context, f"after-{step.name}")
    elapsed_s = time.monotonic() - began
    context.journal.write(entry(context.run, Phase.FORWARD, EntryKind.DONE, step.name, data={"elapsed_s": elapsed_s}))
    _tell(context, EventKind.STEP_FINISHED, step, step.title, elapsed_s)
    return StepResult(name=step.name, title=step.title, outcome="done", elapsed_s=elapsed_s, actions=results)


def run_back(context: Context, step: Step) -> StepResult:
    """Undo a step, if it was begun and not yet undone.

    Raises:
        StepFailedError: An action failed.
    """
    return end_back(context, step, begin_back(context, step))


def begin_back(context: Context, step: Step) -> StepResult:
    """Undo what the messages wait for; :func:`end_back` does the rest.

    Raises:
        StepFailedError: An action failed.
    """
    state = _state(context)
    if step.name in state.undone:
        return StepResult(name=step.name, title=step.title, outcome="already done")
    began = time.monotonic()
    with _told(context, step, Phase.BACK):
        actions = step.undo(context)
        if actions:
            _tell(context, EventKind.STEP_STARTED, step, f"undo: {step.title}")
            call_hook(context, f"before-undo-{step.name}")
        results = _run_actions(context, step, Phase.BACK, actions, state)
    elapsed_s = time.monotonic() - began
    return StepResult(name=step.name, title=step.title, outcome="undone", elapsed_s=elapsed_s, actions=results)


def end_back(context: Context, step: Step, begun: StepResult) -> StepResult:
    """Do what is left of undoing a step, and record that it was undone.

    Raises:
        StepFailedError: An action failed.
    """
    if begun.outcome == "already done":
        return begun
    began = time.monotonic()
    with _told(context, step, Phase.BACK):
        late = _run_actions(context, step, Phase.BACK, step.undo_late(context), _state(context))
    elapsed_s = begun.elapsed_s + time.monotonic() - began
    context.journal.write(entry(context.run, Phase.BACK, EntryKind.DONE, step.name, data={"elapsed_s": elapsed_s}))
    if begun.actions or late:
        _tell(context, EventKind.STEP_UNDONE, step, f"undone: {step.title}", elapsed_s)
    return replace(begun, elapsed_s=elapsed_s, actions=(*begun.actions, *late))


def run_all_back(context: Context, steps: Sequence[Step]) -> list[StepResult]:
    """Undo steps in this order; what no message waits for is done when all messages are back.

    Raises:
        StepFailedError: An action failed.
    """
    results: dict[str, StepResult] = {}
    held: list[Step] = []
    waiting = any(step.name == transfer.NAME for step in steps)
    for step in steps:
        results[step.name] = begin_back(context, step)
        if waiting and step.undo_late is not nothing_to_do:
            held.append(step)
            continue
        results[step.name] = end_back(context, step, results[step.name])
        if step.name == transfer.NAME:
            waiting = False
            for earlier in reversed(held):
                results[earlier.name] = end_back(context, earlier, results[earlier.name])
    return list(results.values())


def planned(step: Step, actions: Iterable[Action]) -> StepResult:
    """Return what a step would do."""
    results = tuple(ActionResult(id=action.id, sentence=action.sentence, outcome="planned") for action in actions)
    return StepResult(name=step.name, title=step.title, outcome="planned", actions=results)


def _run_actions(
    context: Context, step: Step, phase: Phase, actions: tuple[Action, ...], state: RunState
) -> tuple[ActionResult, ...]:
    finished = state.actions.get((phase, step.name), frozenset())
    results = []
    for action in actions:
        if action.id in finished:
            results.append(ActionResult(id=action.id, sentence=action.sentence, outcome="already done"))
            continue
        results.append(_run_action(context, step, phase, action))
    return tuple(results)


def _run_action(context: Context, step: Step, phase: Phase, action: Action) -> ActionResult:
    context.keep_lease()
    began = time.monotonic()
    about = {"action": action.id, "text": action.sentence}
    context.journal.write(entry(context.run, phase, EntryKind.STARTED, step.name, **about))
    context.listener(Event(kind=EventKind.ACTION, step=step.name, text=action.sentence, done=0, total=1))
    facts = attempt(step.name, action)
    elapsed_s = time.monotonic() - began
    context.listener(
        Event(kind=EventKind.ACTION, step=step.name, text=action.sentence, done=1, total=1, elapsed_s=elapsed_s)
    )
    context.journal.write(entry(context.run, phase, EntryKind.DONE, step.name, **about, data=dict(facts)))
    return ActionResult(id=action.id, sentence=action.sentence, outcome="done", elapsed_s=elapsed_s, facts=facts)


def _require(step: Step, report: Report) -> None:
    if report.errors:
        first = report.errors[0]
        failure = RefusedError(first.where, first.what, found=first.found, remedy=first.remedy)
        raise StepFailedError(step, failure, report)


@contextmanager
def _told(context: Context, step: Step, phase: Phase) -> Iterator[None]:
    """Record and tell whatever makes a step fail; an interruption is none."""
    try:
        yield
    except InterruptedRunError:
        raise
    except MigratorError as failure:
        context.journal.write(entry(context.run, phase, EntryKind.FAILED, step.name, text=str(failure)))
        _tell(context, EventKind.STEP_FAILED, step, str(failure))
        raise (failure if isinstance(failure, StepFailedError) else StepFailedError(step, failure)) from failure


def _state(context: Context) -> RunState:
    return read_state(context.journal.entries(context.run))


def _tell(context: Context, kind: EventKind, step: Step, text: str, elapsed_s: float = 0.0) -> None:
    context.listener(Event(kind=kind, step=step.name, text=text, elapsed_s=elapsed_s))

"""Steps that do nothing but start or stop the processes of one role."""

from __future__ import annotations

from collections.abc import Callable

from migrator.plan.processes import Process, Role
from migrator.report import Report
from migrator.steps.actions.process_actions import start_actions, stop_actions, verify_ready, verify_stopped
from migrator.steps.protocol import Action, Context, Step, nothing_to_check, processes, ran_before
from migrator.wire.message import Side


def stop_step(name: str, title: str, role: Role, *, cannot_undo: tuple[str, ...] = ()) -> Step:
    """Return a step that stops the legacy processes of a role; its undo starts those that ran before.

    Args:
        name: The step's name.
        title: One clause for a person.
        role: Whose processes.
        cannot_undo: What no undo brings back, one sentence each.
    """

    def legacy(context: Context) -> tuple[Process, ...]:
        return processes(context, Side.LEGACY, role)

    def undo(context: Context) -> tuple[Action, ...]:
        return start_actions(context, (process for process in legacy(context) if ran_before(context, process)))

    return Step(
        name=name,
        title=title,
        check=nothing_to_check,
        actions=lambda context: stop_actions(context, legacy(context)),
        verify=lambda context: verify_stopped(context, legacy(context)),
        undo=undo,
        cannot_undo=lambda context: cannot_undo,
    )


def start_step(name: str, title: str, role: Role, *, check: Callable[[Context], Report] = nothing_to_check) -> Step:
    """Return a step that starts the unified processes of a role and waits until each is ready; its undo stops them."""

    def unified(context: Context) -> tuple[Process, ...]:
        return processes(context, Side.UNIFIED, role)

    return Step(
        name=name,
        title=title,
        check=check,
        actions=lambda context: start_actions(context, unified(context)),
        verify=lambda context: verify_ready(context, unified(context)),
        undo=lambda context: stop_actions(context, unified(context)),
    )

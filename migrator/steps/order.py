"""The steps of a cutover, in order, and the order in which they are undone.

Everything that can fail without touching the legacy system comes first: the additive database migration and the start
of the unified workers. Only then are legacy processes stopped. A rollback is not the exact reverse: unified workers
must be gone before their table goes, the legacy source must be back before a legacy process starts, and a worker must
be there before its messages come. The legacy aliases come down first: unified workers must have left the legacy queues
before anybody legacy works there again. Legacy processes that stay work on the converted source: they are started when
the messages of converted tasks are gone, and stopped before the source goes back. The schedule is handed over while no
scheduler runs, in both directions.
"""

from __future__ import annotations

from migrator.steps import (
    hand_over_schedule,
    legacy_aliases,
    migrate_database,
    preflight,
    quiesce_schedulers,
    restart_staying,
    retire_files,
    snapshot,
    source,
    start_producers,
    start_scheduler,
    start_workers,
    stop_producers,
    stop_workers,
    transfer,
    verify,
)
from migrator.steps.protocol import Step

#: In the order of a cutover.
STEPS: tuple[Step, ...] = (
    preflight.STEP,
    migrate_database.STEP,
    start_workers.STEP,
    source.STEP,
    quiesce_schedulers.STEP,
    stop_producers.STEP,
    start_producers.STEP,
    stop_workers.STEP,
    snapshot.STEP,
    transfer.STEP,
    legacy_aliases.STEP,
    hand_over_schedule.STEP,
    restart_staying.STEP,
    start_scheduler.STEP,
    verify.STEP,
    retire_files.STEP,
)

#: In the order in which they are undone.
ROLLBACK: tuple[Step, ...] = (
    retire_files.STEP,
    legacy_aliases.STEP,
    start_scheduler.STEP,
    start_producers.STEP,
    start_workers.STEP,
    migrate_database.STEP,
    restart_staying.STEP,
    hand_over_schedule.STEP,
    source.STEP,
    stop_workers.STEP,
    transfer.STEP,
    stop_producers.STEP,
    quiesce_schedulers.STEP,
    verify.STEP,
    snapshot.STEP,
    preflight.STEP,
)


def step_named(name: str) -> Step | None:
    """Return the step of that name, or None."""
    return next((step for step in STEPS if step.name == name), None)

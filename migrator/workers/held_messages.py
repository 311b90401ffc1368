"""Messages that Celery workers hold until their ETA: on RabbitMQ only the workers know them.

Ask after the queue was read: a message that has left it by then has reached a worker's connection before the request,
which comes through the same connection, so it is included in the answer.

Source: celery/worker/control.py (``scheduled``), celery/worker/pidbox.py (a channel of the consumer's connection).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from migrator.errors import UnreachableError
from migrator.plan.model import Plan
from migrator.plan.processes import Role
from migrator.wire.message import Side
from migrator.workers import celery_control, drain

REPLY_TIMEOUT_S = 15.0


def longest_held_eta(plan: Plan, *, environ: Mapping[str, str]) -> float | None:
    """Return the latest ETA of the tasks that unified workers hold, in seconds since the epoch; None if there is none.

    Workers that are not in the plan are asked as well; those in the plan have to answer.

    Raises:
        UnreachableError: A running worker does not answer.
    """
    with celery_control.control(plan.unified, environ) as control:
        answers = celery_control.ask_all(control, "scheduled")
        for worker in plan.select(side=Side.UNIFIED, role=Role.WORKER):
            for node in drain.node_names(plan, worker, environ=environ):
                if node not in answers:
                    answers[node] = _scheduled(control, node)
    return max((at for answer in answers.values() for at in _times(answer)), default=None)


def _scheduled(control: celery_control.Control, node: str) -> object:
    answer = celery_control.ask_until_answered(control, node, "scheduled", within_s=REPLY_TIMEOUT_S)
    if answer is None:
        what = f"did not report within {REPLY_TIMEOUT_S:g} s which tasks it holds"
        raise UnreachableError(f"worker {node}", what, remedy="see its log, then run the same command again")
    return answer


def _times(answer: object) -> Iterator[float]:
    for entry in answer if isinstance(answer, list) else ():
        eta = entry.get("eta") if isinstance(entry, dict) else None
        if eta:
            at = datetime.fromisoformat(str(eta))
            yield (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

"""Run one action; what the system or the broker throws becomes an error with a place, a reason and a remedy."""

from __future__ import annotations

from redis.exceptions import RedisError

from migrator.errors import MigratorError, UnreachableError
from migrator.redaction import redact
from migrator.steps.protocol import Action, Facts


def attempt(step: str, action: Action) -> Facts:
    """Run an action of a step and return its facts.

    Raises:
        MigratorError: It failed; a broker that does not answer is an UnreachableError.
    """
    again = "then run the same command again"
    try:
        return action.run() or {}
    except OSError as failure:
        found = failure.strerror or str(failure)
        where = failure.filename or step
        raise MigratorError(where, action.sentence, found=found, remedy=f"correct that, {again}") from failure
    except RedisError as failure:
        found = redact(f"{type(failure).__name__}: {failure}")
        raise UnreachableError(step, action.sentence, found=found, remedy=f"look at the broker, {again}") from failure

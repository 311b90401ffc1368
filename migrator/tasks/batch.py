"""Runs one action for each symbol and reports the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from .base import SUCCEEDED_HEADER, PartialFailureError, UnifiedTask
from .retry_after import retry_after_s

logger = logging.getLogger(__name__)


def run_batch(task: UnifiedTask, source: str, symbols: list[str], act: Callable[[str], Any]) -> dict[str, Any]:
    """Act on each symbol; one failure doesn't stop the others.

    Raises:
        PartialFailureError: in a worker, if a symbol failed, so that the failed ones are retried. A direct call is
            never retried: there the failures are only in the result.
    """
    started = time.monotonic()
    failures: dict[str, Exception] = {}
    for position, symbol in enumerate(symbols):
        try:
            act(symbol)
        except task.dont_autoretry_for:
            raise
        except SoftTimeLimitExceeded as error:
            failures |= dict.fromkeys(symbols[position:], error)
            break
        except Exception as error:  # noqa: BLE001  # a provider may raise anything; the other symbols still run
            logger.warning(
                "task=%s id=%s source=%s symbol=%s error=%r", task.name, task.request.id, source, symbol, error
            )
            failures[symbol] = error
            _drop_broken_connections()
    if failures and not task.request.called_directly:
        raise _failure(source, symbols, failures)
    return summary(task, source, started, total=len(symbols), failed=list(failures))


def summary(
    task: UnifiedTask, source: str, started: float, *, total: int, failed: list[str] | None = None
) -> dict[str, Any]:
    """Return the result all fetching tasks have in common, earlier attempts of the same call included."""
    failed = failed or []
    before = int((task.request.headers or {}).get(SUCCEEDED_HEADER, 0))
    result = {
        "source": source,
        "total": before + total,
        "success": before + total - len(failed),
        "failed": len(failed),
        "failed_symbols": failed,
        "elapsed_seconds": round(time.monotonic() - started, 3),
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "task_id": task.request.id,
    }
    logger.info(
        "task=%s id=%s source=%s total=%d success=%d failed=%d elapsed_s=%.3f",
        *(task.name, task.request.id, source, result["total"], result["success"]),
        *(result["failed"], result["elapsed_seconds"]),
    )
    return result


def _failure(source: str, symbols: list[str], failures: dict[str, Exception]) -> PartialFailureError:
    remaining = [symbol for symbol in symbols if symbol in failures]
    reasons = "; ".join(f"{symbol}: {type(error).__name__}: {error}" for symbol, error in list(failures.items())[:5])
    more = "; ..." if len(failures) > 5 else ""
    failure = PartialFailureError(f"{source}: {len(remaining)} of {len(symbols)} symbols failed ({reasons}{more})")
    failure.remaining = remaining
    failure.succeeded = len(symbols) - len(remaining)
    failure.retry_after = max((retry_after_s(error) or 0 for error in failures.values()), default=0) or None
    failure.__cause__ = next(iter(failures.values()))
    return failure


def _drop_broken_connections() -> None:
    """Let the next symbol have a new database connection if this one broke; open transactions are left alone."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()

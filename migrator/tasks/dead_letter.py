"""Stores calls that failed permanently: in the database, in a spool file while that is down, else in the log.

A record has a key that is the same for the same failure, so recording it twice, or importing a spool file twice,
leaves one row.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import traceback as tracebacks
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db.utils import DataError, IntegrityError
from kombu.utils import json

from . import spool
from .exact_json import encode

logger = logging.getLogger(__name__)

#: Spooled records imported after each stored dead letter, so that one failing task never pays for a long outage.
IMPORT_BATCH = 50
#: Key of the dead letter from which a raw message was sent again.
REPLAY_HEADER = "x-dead-letter"
_KEYS = uuid.UUID("6a2f0a53-6c0e-4be7-9d53-1d8f0f0f7a10")
_NAME_LENGTH = 255
#: What a spool file raises that is not a dead letter; any other exception means that the database is down.
_BAD_RECORD = (ValueError, TypeError, KeyError, FieldError, ValidationError, DataError, IntegrityError)


class Kept(Enum):
    """Where a dead letter is."""

    DATABASE = "database"
    SPOOL = "spool"
    #: Neither could be written: the record is in the log, and nowhere else.
    LOG = "log"


@dataclass(frozen=True)
class Delivery:
    """What is known about the message besides the call."""

    task_id: str = ""
    #: Differs between copies of a message with the same task id, and stays the same when one is delivered again.
    copy_id: str = ""
    queue: str = ""
    priority: int | None = None
    #: Runs, the first one included; None: unknown.
    attempts: int | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    traceback: str = ""
    #: The whole message, if no worker could run it.
    raw: dict[str, Any] | None = None


@dataclass(frozen=True)
class ImportReport:
    """The result of an import."""

    imported: int = 0
    already_known: int = 0
    unreadable: tuple[str, ...] = ()
    #: Not processed: the limit was reached or the database went away.
    left: int = 0


def copy_id(properties: Mapping[str, Any], headers: Mapping[str, Any]) -> str:
    """Return what identifies this copy of a message: the tag that Redis keeps, and the row it was sent again from."""
    tag = properties.get("delivery_tag")
    return f"{tag if isinstance(tag, str) else ''}/{headers.get(REPLAY_HEADER, '')}"


def send_to_dead_letter(
    task_name: str, args: Any, kwargs: Any, exception: Any, delivery: Delivery | None = None
) -> Kept:
    """Store a call that failed permanently. Never raises: the caller is a worker, which goes on.

    Called inside a transaction, the row belongs to that transaction.
    """
    try:
        record = make_record(task_name, args, kwargs, exception, delivery or Delivery())
        kept = _keep(record)
    except Exception:  # the worker goes on whatever happens here
        logger.critical(
            "dead_letter=unkept task=%s args=%.2000r kwargs=%.2000r", task_name, args, kwargs, exc_info=True
        )
        return Kept.LOG
    if kept is Kept.DATABASE:
        import_after_outage(limit=IMPORT_BATCH)
    return kept


def make_record(task_name: str, args: Any, kwargs: Any, exception: Any, delivery: Delivery) -> dict[str, Any]:
    """Return the row as plain values, for the database and the spool alike."""
    from django.utils import timezone

    args_text, args_exact = encode(args)
    kwargs_text, kwargs_exact = encode(kwargs)
    raw_text, raw_exact = encode(delivery.raw) if delivery.raw is not None else ("", True)
    call = "\n".join((task_name, args_text, kwargs_text, str((delivery.raw or {}).get("body"))))
    traceback = delivery.traceback or ("" if sys.exc_info()[0] is None else tracebacks.format_exc())
    return {
        "key": str(_key(delivery, call)),
        "task_name": _plain(task_name)[:_NAME_LENGTH],
        "args": args_text,
        "kwargs": kwargs_text,
        "exception": _plain(f"{type(exception).__name__}: {exception}" if _is_error(exception) else exception),
        "traceback": _plain(traceback),
        "task_id": _plain(delivery.task_id)[:_NAME_LENGTH],
        "queue": _plain(delivery.queue)[:_NAME_LENGTH],
        "priority": _within(delivery.priority, 2**15 - 1),
        "attempts": _within(delivery.attempts, 2**31 - 1),
        "headers": encode(delivery.headers)[0],
        "raw": raw_text,
        "replayable": args_exact and kwargs_exact and raw_exact,
        "failed_at": timezone.now().isoformat(),
    }


def import_spooled(limit: int | None = None) -> ImportReport:
    """Move spooled records into the database, each exactly once; stops when the database fails."""
    imported = known = 0
    unreadable: list[str] = []
    paths = spool.pending()
    for position, path in enumerate(paths[:limit]):
        try:
            record = spool.read(path)
            created = _insert(record)
        except FileNotFoundError:  # another worker has just imported it
            known += 1
            continue
        except _BAD_RECORD as error:
            logger.error("dead_letter=unreadable file=%s error=%s", path, error)
            unreadable.append(str(path))
            continue
        except Exception:  # whatever the database says, the file stays
            logger.warning("dead_letter=import_stopped left=%d", len(paths) - position, exc_info=True)
            break
        spool.remove(path)
        imported, known = imported + created, known + (not created)
    left = len(paths) - imported - known - len(unreadable)
    return ImportReport(imported=imported, already_known=known, unreadable=tuple(unreadable), left=max(left, 0))


def import_after_outage(limit: int | None = None) -> None:
    """Import the spool without ever raising; for the worker."""
    try:
        report = import_spooled(limit)
    except Exception:  # an unreadable folder must not stop a worker
        logger.error("dead_letter=import_failed", exc_info=True)
        return
    if report.imported or report.unreadable:
        logger.info(
            "dead_letter=imported rows=%d unreadable=%d left=%d", report.imported, len(report.unreadable), report.left
        )


def close_idle_connections() -> None:
    """Leave no database connection behind in a worker's main process: the pool's processes are forked from it."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def _keep(record: dict[str, Any]) -> Kept:
    try:
        _insert(record)
    except Exception:  # down, read-only, not migrated, no space: it goes to the spool
        logger.warning(
            "dead_letter=database_failed task=%s id=%s", record["task_name"], record["task_id"], exc_info=True
        )
    else:
        logger.error("dead_letter=kept task=%s id=%s key=%s", record["task_name"], record["task_id"], record["key"])
        return Kept.DATABASE
    try:
        path = spool.write(record)
    except Exception:  # no space or no permission: only the log is left
        logger.critical("dead_letter=log_only record=%s", json.dumps(record), exc_info=True)
        return Kept.LOG
    logger.error("dead_letter=spooled task=%s id=%s file=%s", record["task_name"], record["task_id"], path)
    return Kept.SPOOL


def _insert(record: dict[str, Any]) -> bool:
    """Store a record; once more on a new connection if the old one had gone stale."""
    from django.db import InterfaceError, OperationalError, connections, router

    from .models import TaskFailure

    connection = connections[router.db_for_write(TaskFailure)]
    try:
        return _create(record)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return _create(record)


def _create(record: dict[str, Any]) -> bool:
    from django.utils.dateparse import parse_datetime

    from .models import TaskFailure

    fields = {**record, "failed_at": parse_datetime(record["failed_at"])}
    return bool(TaskFailure.objects.get_or_create(key=fields.pop("key"), defaults=fields)[1])


def _key(delivery: Delivery, call: str) -> uuid.UUID:
    """Return the same key for the same failure of the same message, so that a redelivery doesn't duplicate it."""
    if not delivery.task_id:
        return uuid.uuid4()
    text = f"{delivery.task_id}\n{delivery.copy_id}\n{delivery.attempts}\n{call}"
    return uuid.uuid5(_KEYS, hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest())


def _within(number: int | None, highest: int) -> int | None:
    """Return the number if its column can hold it."""
    return number if number is not None and 0 <= number <= highest else None


def _is_error(value: Any) -> bool:
    return isinstance(value, BaseException)


def _plain(value: Any) -> str:
    """Return text that every database takes: no NUL, no lone surrogates."""
    return str(value).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()

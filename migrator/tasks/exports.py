"""Import dead letters that a rollback exported: the rows of a `dumpdata` file, each exactly once, by their key.

Everything is restored as it was: status, note, times (to the millisecond). Only the primary key is new, because the
old one may be in use.
"""

from __future__ import annotations

from pathlib import Path

from django.core import serializers
from django.core.serializers.base import DeserializationError
from django.db import IntegrityError, router, transaction

from .dead_letter import ImportReport
from .models import TaskFailure


def import_exported(paths: list[Path]) -> ImportReport:
    """Import the rows of these files; of a file that can't be read completely, nothing is imported."""
    imported = known = 0
    unreadable: list[str] = []
    for path in paths:
        try:
            rows = _rows(path)
            with transaction.atomic(using=router.db_for_write(TaskFailure)):
                created = [_create(row) for row in rows]
        except (OSError, ValueError, TypeError, DeserializationError) as error:
            unreadable.append(f"{path}: {type(error).__name__}: {error}")
            continue
        imported, known = imported + sum(created), known + len(created) - sum(created)
    return ImportReport(imported=imported, already_known=known, unreadable=tuple(unreadable))


def _rows(path: Path) -> list[TaskFailure]:
    found = serializers.deserialize("json", path.read_text(encoding="utf-8"))
    return [each.object for each in found if isinstance(each.object, TaskFailure)]


def _create(row: TaskFailure) -> bool:
    if TaskFailure.objects.filter(key=row.key).exists():
        return False
    row.pk = None
    try:
        with transaction.atomic(using=router.db_for_write(TaskFailure)):
            row.save_base(raw=True, force_insert=True)  # raw: times are not changed
    except IntegrityError:
        if not TaskFailure.objects.filter(key=row.key).exists():
            raise
        return False  # another process has just created it
    return True

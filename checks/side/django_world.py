"""Set the host project's Django up with databases, caches and mail of its own, and fill them for a case.

Source: ``django.conf.LazySettings`` takes values before ``django.setup()``; SQLite's ``init_command`` option.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from checks.side.tables import Snapshot, changes, reset, snapshot

_RELATIVE = re.compile(r"@clock(?:(?P<sign>[+-])(?P<amount>\d+(?:\.\d+)?)(?P<unit>[smhdw]))?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """The SQLite files of this side, by alias, and what each looks like with no case in it."""

    files: Mapping[str, Path]
    templates: Mapping[str, Path]

    def reset(self) -> None:
        """Make each database what its migrations left."""
        for alias, file in self.files.items():
            reset(file, self.templates[alias])

    def snapshot(self) -> dict[str, Snapshot]:
        """Return all rows of all databases."""
        return {alias: snapshot(file) for alias, file in self.files.items()}

    def changes(self, before: Mapping[str, Snapshot]) -> dict[str, Any]:
        """Return what changed since a snapshot, by table; tables of further databases carry their alias."""
        result = {}
        for alias, file in self.files.items():
            for table, change in changes(file, before[alias], snapshot(file)).items():
                result[table if alias == "default" else f"{alias}:{table}"] = change
        return result


def set_up(settings_module: str, scratch: Path, templates: Path) -> Databases:
    """Set Django up for this process.

    Args:
        settings_module: The project's settings.
        scratch: Folder of this process.
        templates: Folder with the migrated, empty databases; shared by all sides, made by the first.
    """
    os.environ["DJANGO_SETTINGS_MODULE"] = settings_module
    import django
    from django.conf import settings

    files = {alias: scratch / f"{alias}.sqlite3" for alias in settings.DATABASES}
    settings.DATABASES = {alias: _database(file) for alias, file in files.items()}
    caches = {
        alias: {
            "BACKEND": "checks.side.cache_backend.RecordingCache",
            "LOCATION": f"parity-{alias}",
            **{key: value for key, value in given.items() if key in ("TIMEOUT", "KEY_PREFIX", "VERSION")},
        }
        for alias, given in settings.CACHES.items()
    }
    settings.CACHES = caches
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    django.setup()
    _migrate(files, templates)
    return Databases(files=files, templates={alias: templates / f"{alias}.sqlite3" for alias in files})


def fill(rows: Sequence[Mapping[str, Any]], cache: Sequence[Mapping[str, Any]], clock: datetime) -> None:
    """Write a case's rows and cache entries.

    Raises:
        LookupError: A model is not known.
        ValueError: A row does not fit its model.
    """
    from django.apps import apps
    from django.core.cache import cache as default_cache

    found: dict[Any, Any] = {}
    for name, batch in groupby(rows, key=itemgetter("model")):
        model = apps.get_model(name)
        model.objects.bulk_create([model(**_resolved(model, row["fields"], clock, found)) for row in batch])
    for entry in cache:
        default_cache.set(entry["key"], moments(entry["value"], clock), entry["timeout_s"])


def moments(value: Any, clock: datetime) -> Any:
    """Return ``value`` with strings such as ``@clock-30d`` as ISO moments."""
    if isinstance(value, str):
        match = _RELATIVE.fullmatch(value)
        return _moment(match, clock).isoformat() if match else value
    if isinstance(value, Mapping):
        return {key: moments(item, clock) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [moments(item, clock) for item in value]
    return value


def relative_moments(value: Any, clock: datetime) -> dict[int, str]:
    """Return what each moment of a case's data is called, by whole seconds since the epoch."""
    if isinstance(value, str):
        match = _RELATIVE.fullmatch(value)
        return {int(_moment(match, clock).timestamp()): value.removeprefix("@")} if match else {}
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {moment: name for child in children for moment, name in relative_moments(child, clock).items()}


def clear_outside() -> None:
    """Empty caches and mail box."""
    from django.core import mail
    from django.core.cache import caches

    for cache in caches.all(initialized_only=True):
        cache.clear()
    mail.outbox = []


def sent_mail() -> list[dict[str, Any]]:
    """Return what was mailed."""
    from django.core import mail

    return [
        {"to": list(item.to), "cc": list(item.cc), "from": item.from_email, "subject": item.subject, "body": item.body}
        for item in getattr(mail, "outbox", [])
    ]


def _database(file: Path) -> dict[str, Any]:
    options = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF", "timeout": 20}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(file), "OPTIONS": options}


def _migrate(files: Mapping[str, Path], templates: Path) -> None:
    from django.core.management import call_command
    from django.db import connections

    templates.mkdir(parents=True, exist_ok=True)
    with (templates / "lock").open("w") as lock:
        # The first side makes the templates, the others wait for it; the parent bounds the wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for alias, file in files.items():
            template = templates / f"{alias}.sqlite3"
            if template.exists():
                shutil.copyfile(template, file)
                continue
            call_command("migrate", database=alias, run_syncdb=True, interactive=False, verbosity=0)
            with connections[alias].cursor() as cursor:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connections[alias].close()
            shutil.copyfile(file, template.with_suffix(".new"))
            template.with_suffix(".new").rename(template)


def _resolved(model: Any, fields: Mapping[str, Any], clock: datetime, found: dict[Any, Any]) -> dict[str, Any]:
    result = {}
    for name, value in fields.items():
        field = model._meta.get_field(name)
        if field.is_relation and isinstance(value, Mapping):
            key = (field.related_model, *sorted(value.items()))
            if key not in found:
                found[key] = field.related_model.objects.get(**value)
            result[name] = found[key]
        elif isinstance(value, str) and (match := _RELATIVE.fullmatch(value)):
            result[name] = _moment(match, clock)
        else:
            result[field.attname if field.is_relation else name] = field.to_python(value)
    return result


def _moment(match: re.Match[str], clock: datetime) -> datetime:
    if match["amount"] is None:
        return clock
    seconds = float(match["amount"]) * _UNITS_S[match["unit"]]
    return clock + timedelta(seconds=seconds if match["sign"] == "+" else -seconds)

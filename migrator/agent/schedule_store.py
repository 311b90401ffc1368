"""Look into what a beat remembers, and write into it.

A beat remembers the last run of each entry in a file (:mod:`shelve`) or in rows of django_celery_beat. Nothing here
decides: what is to be written is in the request. No connection to a broker is opened. The arguments are the settings,
the app or an empty text, and the request as JSON, with any of

- ``locate``: ``scheduler`` and ``file`` as the command of a beat gives them; needs APP
- ``read``: a file of a beat
- ``write``: ``kind``, ``file``, ``states``, ``rows``, ``delete``, ``skip``, ``timezone`` and ``utc``

Source: celery/beat.py (`PersistentScheduler`: a file without `tz`, `utc_enabled` and `__version__`, or with others than
the app's, is emptied; entries are merged by name), django_celery_beat/schedulers.py (`update_from_dict`; rows are read
again when `PeriodicTasks.last_update` changes).
"""

from __future__ import annotations

import importlib
import json
import shelve
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import celery_app
from .project_setup import set_up

ROWS = "django_celery_beat"
FIELDS = (
    *("id", "name", "task", "args", "kwargs", "queue", "exchange", "routing_key", "enabled", "one_off"),
    *("last_run_at", "total_run_count"),
)
#: What a dbm may add to the name of a file.
_SUFFIXES = ("", ".db", ".dat", ".dir")


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """Do what the request says."""
    settings, name, text = arguments
    set_up(settings)
    request = json.loads(text)
    app = celery_app.find(name) if name else None
    found: dict[str, Any] = {}
    if "locate" in request:
        found.update(_locate(app, **request["locate"]))
    if "write" in request:
        found.update(_write(app, request["write"]))
    if "read" in request:
        found["entries"] = _entries(request["read"])
    found["rows"] = _rows()
    return found


def _locate(app: Any, scheduler: str, file: str) -> dict[str, Any]:
    """Return where a beat of this app remembers what it has sent, and in which zone it counts."""
    from celery.beat import PersistentScheduler
    from celery.utils.imports import load_extension_class_names, symbol_by_name

    named = scheduler or app.conf.beat_scheduler
    found = symbol_by_name(named, aliases=dict(load_extension_class_names("celery.beat_schedulers")))
    kind = "file" if issubclass(found, PersistentScheduler) else "other"
    if any(base.__module__.partition(".")[0] == ROWS for base in found.__mro__):
        kind = "rows"
    zone = app.conf.timezone
    return {
        "kind": kind,
        "scheduler": str(named),
        "file": str(file or app.conf.beat_schedule_filename) if kind == "file" else "",
        "timezone": zone if zone is None or isinstance(zone, str) else str(zone),
        "utc": bool(app.conf.enable_utc),
        "schedule": celery_app.schedule_of(app),
    }


def _entries(file: str) -> dict[str, Any]:
    """Return the last run of each entry in a file of a beat that does not run; empty if there is no file."""
    if not any(Path(file + suffix).exists() for suffix in _SUFFIXES):
        return {}
    with shelve.open(file, "r") as store:
        found = dict(store.get("entries") or {})
    return {str(name): _state(entry.last_run_at, entry.total_run_count) for name, entry in found.items()}


def _state(last_run_at: Any, total_run_count: int) -> dict[str, Any]:
    moment = _aware(last_run_at)
    return {"last_run_at": moment.isoformat() if moment else None, "total_run_count": total_run_count}


def _aware(moment: Any) -> Any:
    """Return a moment with its zone: what has none was written in UTC."""
    return moment.replace(tzinfo=timezone.utc) if moment is not None and moment.tzinfo is None else moment


def _model(name: str = "PeriodicTask") -> Any:
    """Return the model, and its rows where the project's routers send the app; None without its table."""
    from django.apps import apps
    from django.db import connections, router

    if not apps.is_installed(ROWS):
        return None
    model = apps.get_model(ROWS, name)
    connection = connections[router.db_for_write(model)]
    if model._meta.db_table not in connection.introspection.table_names():
        return None
    return model


def _rows() -> list[dict[str, Any]] | None:
    model = _model()
    if model is None:
        return None
    rows = _using(model).order_by("pk").values(*FIELDS)
    return [{**row, **_state(row["last_run_at"], row["total_run_count"])} for row in rows]


def _using(model: Any) -> Any:
    from django.db import router

    return model._base_manager.using(router.db_for_write(model))


def _write(app: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    kept = list(_change_rows(request["rows"], request["delete"])) if request["rows"] or request["delete"] else []
    states = request["states"]
    if request["kind"] == "file" and states:
        due = _write_file(app, request)
    elif request["kind"] == "rows":
        due = _write_rows(app, states, skip=request["skip"])
    else:
        due = []
    return {"kept": kept, "due": due}


def _write_file(app: Any, request: Mapping[str, Any]) -> list[str]:
    """Write the last runs into a file of a beat that does not run; return what is due by them now."""
    import celery
    from celery.beat import ScheduleEntry

    due = []
    now = datetime.now(timezone.utc)
    schedule = (app.conf.beat_schedule or {}) if app is not None else {}
    with shelve.open(request["file"]) as store:
        entries = dict(store.get("entries") or {})
        for name, state in request["states"].items():
            given = datetime.fromisoformat(state["last_run_at"])
            before = entries.get(name)
            last = max(filter(None, (given, _aware(before.last_run_at) if before is not None else None)))
            when = schedule.get(name, {}).get("schedule")
            entry = ScheduleEntry(
                name=name,
                task=schedule.get(name, {}).get("task", ""),
                # Beat puts its own schedule there when it starts.
                schedule=when if when is not None else getattr(before, "schedule", 3600.0),
                last_run_at=last,
                total_run_count=max(state["total_run_count"], getattr(before, "total_run_count", 0)),
                app=app,
            )
            if when is not None and entry.is_due()[0]:
                due.append(name)
                entry.last_run_at = now if request["skip"] else last
            entries[name] = entry
        store["entries"] = entries
        if app is not None:
            store["tz"], store["utc_enabled"] = app.conf.timezone, app.conf.enable_utc
        else:
            store.setdefault("tz", request["timezone"])
            store.setdefault("utc_enabled", request["utc"])
        store.setdefault("__version__", celery.__version__)
    return due


def _change_rows(changes: Sequence[Mapping[str, Any]], delete: Sequence[int]) -> Iterator[str]:
    """Change and delete rows in one transaction; yield those that somebody else has changed meanwhile."""
    from django.db import router, transaction
    from django.utils.timezone import now

    model, track = _model(), _model("PeriodicTasks")
    if model is None:
        return
    with transaction.atomic(using=router.db_for_write(model)):
        for change in changes:
            rows = _using(model).filter(pk=change["id"])
            row = rows.select_for_update().first()
            # A second run after a crash finds what the first has written.
            known = row and all(
                getattr(row, name) in (value, change["after"][name]) for name, value in change["before"].items()
            )
            if not known:
                yield f"row {change['name']!r} was changed or deleted meanwhile: it is left as it is"
                continue
            rows.update(**change["after"])
        _using(model).filter(pk__in=delete).delete()
        _using(track).update_or_create(ident=1, defaults={"last_update": now()})


def _write_rows(app: Any, states: Mapping[str, Any], *, skip: bool) -> list[str]:
    """Write the last runs into rows, make those that beat would make; return what is due by them now."""
    model = _model()
    if model is None:
        return []
    for name, state in states.items():
        given = datetime.fromisoformat(state["last_run_at"])
        row = _using(model).filter(name=name).first()
        if row is not None and state.get("assumed"):
            # It knows itself what it has run.
            continue
        row = row or _make(app, name)
        if row is not None and (row.last_run_at is None or _aware(row.last_run_at) < given):
            count = max(row.total_run_count, state["total_run_count"])
            _using(model).filter(pk=row.pk).update(last_run_at=_stored(given), total_run_count=count)
    due = [row for row in _using(model).filter(enabled=True) if app is not None and _due(row, app)]
    if skip:
        _using(model).filter(pk__in=[row.pk for row in due]).update(last_run_at=_stored(datetime.now(timezone.utc)))
    return [row.name for row in due]


def _make(app: Any, name: str) -> Any:
    """Make the row of an entry as beat does when it starts; None if the app has no such entry."""
    entry = (app.conf.beat_schedule or {}).get(name) if app is not None else None
    if entry is None:
        return None
    importlib.import_module(f"{ROWS}.schedulers").ModelEntry.from_entry(name, app=app, **entry)
    return _using(_model()).filter(name=name).first()


def _stored(moment: datetime) -> datetime:
    """Return a moment as the project's settings want it in a database."""
    from django.conf import settings

    return moment if settings.USE_TZ else moment.astimezone(timezone.utc).replace(tzinfo=None)


def _due(row: Any, app: Any) -> bool:
    """Tell whether beat sends a row at once."""
    now, last = datetime.now(timezone.utc), _aware(row.last_run_at)
    if last is None or (row.start_time and _aware(row.start_time) > now):
        return False
    if (row.expires and _aware(row.expires) <= now) or (row.one_off and row.total_run_count):
        return False
    try:
        return bool(row.schedule.is_due(last.astimezone(app.timezone))[0])
    except Exception:  # noqa: BLE001 - a schedule of any kind, which beat itself will judge
        return False

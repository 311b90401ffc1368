"""Set up the host project's Django with its own databases, caches and mail, and fill them for a case.

Source: ``django.conf.LazySettings`` takes values before ``django.setup()``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from .databases import Databases, make, redirect
from .project_setup import ProjectSetupError, use_settings
from .tables import DatabaseLocation

_RELATIVE = re.compile(r"@clock(?:(?P<sign>[+-])(?P<amount>\d+(?:\.\d+)?)(?P<unit>[smhdw]))?")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def set_up(settings_module: str, location: DatabaseLocation) -> Databases:
    """Set up Django for this process, with databases of its own, and return them.

    Raises:
        ProjectSetupError: The settings can't be imported, or the apps can't be loaded.
    """
    try:
        use_settings(settings_module)
        settings = _set_up_apart(location)
    except Exception as error:
        raise ProjectSetupError from error
    _take_effect(settings)
    return make(settings, location)


def _set_up_apart(location: DatabaseLocation) -> Any:
    import django
    from django.conf import settings

    redirect(settings, location)
    caches = {
        alias: {
            "BACKEND": f"{__package__}.cache_backend.RecordingCache",
            "LOCATION": f"parity-{alias}",
            **{key: value for key, value in given.items() if key in ("TIMEOUT", "KEY_PREFIX", "VERSION")},
        }
        for alias, given in settings.CACHES.items()
    }
    settings.CACHES = caches
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    django.setup()
    return settings


def _take_effect(settings: Any) -> None:
    """Drop the connections of a project that has set Django up itself while its settings were imported.

    Raises:
        PermissionError: One would still lead to a database of the project.
    """
    from django.core.cache import caches
    from django.db import connections

    for handler in (connections, caches):
        handler._settings = None
        handler.__dict__.pop("settings", None)
        for alias in handler:
            if hasattr(handler._connections, alias):
                delattr(handler._connections, alias)
    for alias, given in settings.DATABASES.items():
        if connections[alias].settings_dict["NAME"] != given["NAME"]:
            raise PermissionError(f"database {alias}: its connection does not lead to the one that was made for this")


def fill(rows: Sequence[Mapping[str, Any]], cache: Sequence[Mapping[str, Any]], clock: datetime) -> None:
    """Write a case's rows and cache entries.

    Raises:
        LookupError: There is no such model.
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
    """Return the label of each moment of a case's data, by whole seconds since the epoch."""
    if isinstance(value, str):
        match = _RELATIVE.fullmatch(value)
        return {int(_moment(match, clock).timestamp()): value.removeprefix("@")} if match else {}
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return {moment: name for child in children for moment, name in relative_moments(child, clock).items()}


def clear_caches_and_mail() -> None:
    """Empty the caches and the mail outbox."""
    from django.core import mail
    from django.core.cache import caches

    for cache in caches.all(initialized_only=True):
        cache.clear()
    mail.outbox = []


def sent_mail() -> list[dict[str, Any]]:
    """Return the mail that was sent."""
    from django.core import mail

    return [
        {"to": list(item.to), "cc": list(item.cc), "from": item.from_email, "subject": item.subject, "body": item.body}
        for item in getattr(mail, "outbox", [])
    ]


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

"""What belongs to the host project, named in its Django settings: `UNIFIED_TASKS` overrides entries of `DEFAULTS`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: The project's Celery app as `-A` names it; an empty one is that of this process.
CELERY_APP = ""
#: Modules with tasks add what these need.
DEFAULTS: dict[str, Any] = {
    "CELERY_APP": CELERY_APP,
    #: Folder for dead letters while the database is down; None: var/dead_letters below the project.
    "SPOOL_DIR": None,
}


def host_setting(name: str) -> Any:
    """Return a setting of the host project, or its default."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    chosen = getattr(settings, "UNIFIED_TASKS", {})
    unknown = sorted(set(chosen) - set(DEFAULTS))
    if unknown:
        raise ImproperlyConfigured(
            f"settings.UNIFIED_TASKS: unknown entries (found {', '.join(unknown)}); known are {', '.join(DEFAULTS)}"
        )
    if isinstance(DEFAULTS[name], dict):
        return {**DEFAULTS[name], **chosen.get(name, {})}
    return chosen.get(name, DEFAULTS[name])


def load_object(dotted: str, *, setting_name: str) -> Any:
    """Return the class or list behind a dotted path of the settings."""
    from django.core.exceptions import ImproperlyConfigured
    from django.utils.module_loading import import_string

    try:
        return import_string(dotted)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"settings.UNIFIED_TASKS[{setting_name!r}]: can't be imported (found {dotted!r}: {error}); "
            "name an object of the project"
        ) from error


def load_model(setting_name: str) -> Any:
    """Return the model that a host setting names."""
    from django.apps import apps
    from django.core.exceptions import ImproperlyConfigured

    label = host_setting(setting_name)
    try:
        return apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise ImproperlyConfigured(
            f"settings.UNIFIED_TASKS[{setting_name!r}]: no such model (found {label!r}: {error}); "
            "name one as 'app_label.Model'"
        ) from error


def spool_folder() -> Path:
    """Return the folder that keeps dead letters while the database is down."""
    from django.conf import settings

    chosen = host_setting("SPOOL_DIR")
    return Path(chosen) if chosen else Path(getattr(settings, "BASE_DIR", Path.cwd())) / "var" / "dead_letters"


def celery_app() -> Any:
    """Return the Celery app of the host project."""
    name = host_setting("CELERY_APP")
    if not name:
        from celery import current_app

        return current_app._get_current_object()
    from celery.app.utils import find_app

    return find_app(name)

"""Django settings for running this app on its own; a project that has settings never loads this file."""

import os
import secrets
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

BASE_DIR = Path(os.environ.get("UNIFIED_TASKS_HOME") or Path.cwd())


def _database(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            # ?host=/folder is a Unix socket, as libpq takes it
            "HOST": parse_qs(parts.query).get("host", [parts.hostname or ""])[0],
            "PORT": str(parts.port or ""),
        }
    if parts.scheme not in {"", "sqlite", "sqlite3"}:
        raise ValueError(
            f"DATABASE_URL: unsupported scheme (found {parts.scheme!r}); use postgresql://... or sqlite:///path"
        )
    # sqlite:///relative and sqlite:////absolute, as usual; no URL at all: a file in the working folder.
    name = unquote(parts.path[1:]) or str(BASE_DIR / "unified_tasks.sqlite3")
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {"timeout": 30, "init_command": "PRAGMA journal_mode=WAL;"},
    }


# Nothing is signed with it that must survive a restart.
SECRET_KEY = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(50)
DEBUG = False
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", __package__]
DATABASES = {"default": _database(os.environ.get("DATABASE_URL", ""))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")
CELERY_RESULT_BACKEND = os.environ.get("CELERY_RESULT_BACKEND", "redis://localhost:6379/1")

"""Settings of a small host project: the documented Celery settings, everything else from the environment."""

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

BASE_DIR = Path(os.environ.get("HOST_DIR") or Path(__file__).resolve().parent)
SECRET_KEY = "only for tests"
DEBUG = False
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "assets",
    os.environ.get("TASKS_PACKAGE", "tasks"),
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "hosturls"
ALLOWED_HOSTS = ["testserver"]

_url = urlsplit(os.environ.get("DATABASE_URL", ""))
if _url.scheme == "postgresql":
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _url.path[1:],
            "USER": _url.username,
            "HOST": parse_qs(_url.query).get("host", [unquote(_url.hostname or "")])[0],
            "PORT": _url.port,
            "OPTIONS": {"connect_timeout": 3},
        }
    }
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": _url.path[1:] or BASE_DIR / "db.sqlite3",
            "OPTIONS": {"timeout": 20, "init_command": "PRAGMA journal_mode=WAL;"},
        }
    }

CELERY_BROKER_URL = os.environ["HOST_BROKER_URL"]
CELERY_RESULT_BACKEND = os.environ["HOST_RESULT_BACKEND"]
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": int(os.environ.get("HOST_VISIBILITY_TIMEOUT", "3600")),
    "polling_interval": 0.1,
}

# How long a worker waits for the result of a process that has died; 10 s by default.
CELERY_WORKER_LOST_WAIT = 1

MARKET_URL = os.environ.get("MARKET_URL", "")
UNIFIED_TASKS = {
    "PROVIDERS": {
        "yahoo": "providers.Yahoo",
        "alpha": "providers.Alpha",
        "binance": "providers.Binance",
        "coingecko": "providers.CoinGecko",
        "coinmarketcap": "providers.CoinMarketCap",
        "unified_crypto": "providers.UnifiedCrypto",
        "finnhub": "providers.Finnhub",
        "news": "providers.News",
    },
    "PIPELINE": "services.Pipeline",
    "CACHE": "services.Cache",
    "STOCKS": "services.STOCKS",
    "COINS": "services.COINS",
    "SPOOL_DIR": BASE_DIR / "spool",
}

import os
from pathlib import Path

from configurations import Configuration

BASE_DIR = Path(__file__).resolve().parent.parent


class Common(Configuration):
    SECRET_KEY = os.environ.get("SECRET_KEY", "not-secret")
    ALLOWED_HOSTS = ["*"]
    INSTALLED_APPS = [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django_dramatiq",
        "jobs",
        "catalog",
        "checks",
        "tasks",
        "ledger",
    ]
    MIDDLEWARE = []
    ROOT_URLCONF = "config.urls"
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ.get("SHOPFRONT_DB", str(BASE_DIR / "db.sqlite3")),
            "OPTIONS": {"timeout": 60},
        }
    }
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    USE_TZ = True
    TIME_ZONE = "Europe/Berlin"

    REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

    DRAMATIQ_BROKER = {
        "BROKER": "dramatiq.brokers.redis.RedisBroker",
        "OPTIONS": {"url": REDIS_URL},
        "MIDDLEWARE": [
            "dramatiq.middleware.AgeLimit",
            "dramatiq.middleware.TimeLimit",
            "dramatiq.middleware.Callbacks",
            "dramatiq.middleware.Retries",
            "django_dramatiq.middleware.DbConnectionsMiddleware",
        ],
    }

    CELERY_BROKER_URL = REDIS_URL
    CELERY_TASK_ROUTES = {
        "tasks.mailing.*": {"queue": "mailing"},
    }
    # the newsletter is sent by a colleague's script on Mondays, so it isn't in here
    CELERY_BEAT_SCHEDULE = {
        "stock-report": {"task": "tasks.mailing.stock_report", "schedule": 5.0},
    }


class Development(Common):
    DEBUG = True


class Production(Common):
    DEBUG = False

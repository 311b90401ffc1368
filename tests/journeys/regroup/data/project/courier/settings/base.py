import os
from urllib.parse import parse_qs, urlsplit

database = urlsplit(os.environ.get("DATABASE_URL", "postgresql://courier@127.0.0.1/courier"))

SECRET_KEY = "not-secret"
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_celery_beat",
    "ledger",
    "mailing",
    "reporting",
]
MIDDLEWARE = []
ROOT_URLCONF = "courier.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.path[1:],
        "USER": database.username or "",
        "HOST": parse_qs(database.query).get("host", [database.hostname or ""])[0],
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

CELERY_BROKER_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
CELERY_TASK_DEFAULT_QUEUE = "mail"
CELERY_TASK_ROUTES = {
    "reporting.daily": {"queue": "reports"},
    "reporting.tasks.print_label": {"queue": "reports"},
    "reporting.purge": "reports",
}

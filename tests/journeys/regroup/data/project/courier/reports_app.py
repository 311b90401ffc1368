"""The app of the pool that makes reports: `celery -A courier.reports_app worker -Q reports`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier.settings.prod")


def make_app(name):
    made = Celery(name)
    made.config_from_object("django.conf:settings", namespace="CELERY")
    made.autodiscover_tasks()
    return made


app = make_app("reports")

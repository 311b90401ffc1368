import os

from celery import Celery

from courier.names import PURGE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "courier.settings.prod")


class CourierCelery(Celery):
    """Our app."""

    def now_name(self):
        return self.main


app = CourierCelery("courier")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

app.conf.beat_schedule = {
    **app.conf.beat_schedule,
    "purge": {"task": PURGE, "schedule": 4.0, "args": ("", 30), "options": {"queue": "reports"}},
}

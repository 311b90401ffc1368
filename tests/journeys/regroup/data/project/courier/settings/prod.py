from courier.settings.base import *  # noqa: F403

CELERY_BEAT_SCHEDULE = {
    "digest": {"task": "mailing.tasks.send_digest", "schedule": 5.0, "kwargs": {"ref": "", "layout": "short"}},
}

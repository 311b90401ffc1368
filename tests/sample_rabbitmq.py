"""The sample with its brokers on RabbitMQ: what to change in it, and what its processes need in their environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from migrator.demo.scratch import commit

SOURCE = "apps/backend/src/"
CELERY_URL = '"${CELERY_BROKER_URL:-redis://localhost:6379/0}"'
#: What makes the sample a project with RabbitMQ, and lets its old and its new Celery app have different brokers.
EDITS = {
    f"{SOURCE}tasks/scheduler_tasks.py": (
        ("dramatiq.brokers.redis import RedisBroker", "dramatiq.brokers.rabbitmq import RabbitmqBroker"),
        ("broker = RedisBroker(", "broker = RabbitmqBroker("),
    ),
    f"{SOURCE}tasks/celery_tasks.py": (("broker=settings.CELERY_BROKER_URL", "broker=settings.LEGACY_CELERY_URL"),),
    f"{SOURCE}core/settings.py": (
        (
            'CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")',
            'LEGACY_CELERY_URL = os.environ["LEGACY_CELERY_URL"]\nCELERY_BROKER_URL = os.environ["UNIFIED_URL"]',
        ),
    ),
    "migration.toml": (
        (f'{CELERY_URL}\nqueues = ["celery"]', '"${LEGACY_CELERY_URL}"\nqueues = ["celery"]'),
        (f'{CELERY_URL}\nqueues = ["unified"]', '"${UNIFIED_URL}"\nqueues = ["unified"]'),
    ),
}


def put_on_rabbitmq(folder: Path) -> None:
    """Change the sample in ``folder`` and commit it."""
    for name, changes in EDITS.items():
        text = (folder / name).read_text()
        for old, new in changes:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        (folder / name).write_text(text)
    commit(folder, "Brokers on RabbitMQ")


def on_rabbitmq(environ: Mapping[str, str], *, url: str, management_url: str) -> dict[str, str]:
    """Return an environment of the sample with everything on one RabbitMQ; ``REDIS_URL`` is the way out."""
    # Celery's own CELERY_BROKER_URL would win over what either app says.
    own = {name: value for name, value in environ.items() if name != "CELERY_BROKER_URL"}
    own |= {"DRAMATIQ_BROKER_URL": url, "LEGACY_CELERY_URL": url, "UNIFIED_URL": url}
    # With it the brokers also see what workers hold.
    return own | {"RABBITMQ_MANAGEMENT_URL": management_url, "REDIS_URL": environ["CELERY_BROKER_URL"]}

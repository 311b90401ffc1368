"""Runs with Django configured, in a process of its own: see test_tasks_inside.py."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "host")]
os.environ["DJANGO_SETTINGS_MODULE"] = "hostsettings"
os.environ["TASKS_PACKAGE"] = "migrator.tasks"

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from tasks_market import Market, running_market  # noqa: E402

call_command("migrate", verbosity=0)


@pytest.fixture(scope="session")
def market_server() -> Iterator[Market]:
    with running_market() as running:
        yield running


@pytest.fixture
def market(market_server: Market) -> Market:
    market_server.reset()
    return market_server


@pytest.fixture(autouse=True)
def clean(market: Market, tmp_path: Path) -> Iterator[None]:
    """An empty database, cache, spool and queue, and no providers yet."""
    import providers
    import redis
    from assets.models import Article, Asset, AssetType
    from django.conf import settings
    from django.core.cache import cache

    from migrator.tasks.models import TaskFailure
    from migrator.tasks.providers import _scraper_cache, _service_cache

    for model in (TaskFailure, Asset, AssetType, Article):
        model.objects.all().delete()
    cache.clear()
    settings.MARKET_URL = market.url
    settings.UNIFIED_TASKS["SPOOL_DIR"] = tmp_path / "spool"
    for cached in (_scraper_cache, _service_cache, providers.CREATED):
        cached.clear()
    with redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5) as client:
        client.flushall()
    yield

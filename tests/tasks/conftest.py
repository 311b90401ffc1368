"""The host project, its market and its broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from tasks_host import Host, install
from tasks_market import Market, running_market

from migrator.embedded_redis import EmbeddedServer

# `inside` runs in processes of its own, with Django configured; `host` is the project under test.
collect_ignore = ["host"] if os.environ.get("TASKS_INSIDE") else ["host", "inside"]


@pytest.fixture(scope="module")
def market_server() -> Iterator[Market]:
    with running_market() as running:
        yield running


@pytest.fixture
def market(market_server: Market) -> Market:
    market_server.reset()
    return market_server


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedServer, market_server: Market) -> Host:
    folder = tmp_path_factory.mktemp("host") / "src"
    return install(folder, broker_url=redis_server.url(0), result_url=redis_server.url(1), market_url=market_server.url)


@pytest.fixture
def host(installed: Host, redis_url: str, market: Market) -> Host:
    """The installed project with an empty broker, no rows and a market that answers."""
    installed.python(
        "from assets.models import *\n"
        "for model in (TaskFailure, Asset, AssetType, Article): model.objects.all().delete()"
    )
    for file in (Path(installed.folder) / "spool").glob("*"):
        file.unlink()
    return installed


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, socket_timeout=5) as connection:
        yield connection

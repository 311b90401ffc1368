"""The servers that the sample uses: a Redis (embedded, or a given one) and the market server with prices."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from migrator.embedded_redis import embedded_server, free_port, port_file_server
from migrator.errors import RefusedError, UnreachableError

#: Environment variable with the URL of a server to use instead of an embedded one.
URL_VARIABLE = "MIGRATOR_REDIS_URL"


@contextmanager
def demo_servers(fixtures: Path, folder: Path, redis_url: str | None) -> Iterator[Mapping[str, str]]:
    """Run the servers that the sample needs and yield the environment with their URLs.

    Args:
        fixtures: Folder with ``market/server.py``.
        folder: Where the servers may write.
        redis_url: A server to use; its database in the URL and the next two must be empty.
    """
    with ExitStack() as stack:
        if redis_url:
            urls = _given(redis_url)
        else:
            server = stack.enter_context(embedded_server(folder=folder / "redis"))
            urls = [server.url(db) for db in range(3)]
        market = stack.enter_context(market_server(fixtures / "market" / "server.py", folder))
        yield {
            "DRAMATIQ_BROKER_URL": urls[0],
            "CELERY_BROKER_URL": urls[0],
            "CELERY_RESULT_BACKEND": urls[1],
            "CACHE_URL": urls[2],
            "MARKET_URL": market,
            "API_PORT": str(free_port()),
        }


@contextmanager
def market_server(script: Path, folder: Path) -> Iterator[str]:
    """Run the market server on a free port and yield its URL."""
    port_file = folder / "market.port"
    command = [sys.executable, str(script), "--port", "0", "--port-file", str(port_file)]
    with port_file_server(command, port_file=port_file) as port:
        yield f"http://127.0.0.1:{port}"


def _given(redis_url: str) -> list[str]:
    """Return the URLs of three databases of a given server; they must be empty."""
    import redis

    parts = urlsplit(redis_url)
    first = int(parts.path.strip("/") or 0)
    urls = [urlunsplit(parts._replace(path=f"/{first + number}")) for number in range(3)]
    for number, url in enumerate(urls, first):
        try:
            with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
                size = client.dbsize()
        except redis.RedisError as error:
            where = f"redis at {parts.hostname}:{parts.port}, database {number}"
            raise UnreachableError(where, "can't be used", found=str(error), remedy="check --redis-url") from error
        if size:
            raise RefusedError(
                f"redis database {number}",
                "is not empty, and the demo only writes to empty ones",
                found=f"{size} keys",
                remedy="use another database in the URL, or omit --redis-url",
            )
    return urls

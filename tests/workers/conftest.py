from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop import Shop, open_shop

from migrator.servers import EmbeddedServer


@pytest.fixture
def shop(tmp_path: Path, redis_server: EmbeddedServer) -> Iterator[Shop]:
    with open_shop(tmp_path / "shop", redis_server) as opened:
        yield opened

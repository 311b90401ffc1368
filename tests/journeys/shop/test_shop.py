"""The shop: actors of django-dramatiq and a Celery app of its own, from `inspect` to `complete` under load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from shop_journey import from_inspect_to_complete


@pytest.mark.journey
@pytest.mark.timeout(1200)
def test_from_inspect_to_complete(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    record_property("journey", f"shop: {from_inspect_to_complete(tmp_path)}")

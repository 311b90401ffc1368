"""A cache in memory that records each write with its lifetime.

Replaces every cache that the project configures, so that no run sees another's entries.
"""

from __future__ import annotations

from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.locmem import LocMemCache

from .recorder import RECORDER


class RecordingCache(LocMemCache):  # type: ignore[misc]  # Django has no type information
    """Django's memory cache; asynchronous methods are recorded too, because their base class calls these."""

    def set(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> None:
        """Record and write."""
        self._note("set", key, value, timeout)
        super().set(key, value, timeout, version)

    def add(self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Record and write if absent."""
        added = bool(super().add(key, value, timeout, version))
        if added:
            self._note("add", key, value, timeout)
        return added

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Record and extend."""
        self._note("touch", key, None, timeout)
        return bool(super().touch(key, timeout, version))

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        """Record and count."""
        self._note("incr", key, delta, None)
        return int(super().incr(key, delta, version))

    def delete(self, key: str, version: int | None = None) -> bool:
        """Record and delete."""
        self._note("delete", key, None, None)
        return bool(super().delete(key, version))

    def clear(self) -> None:
        """Record and delete everything."""
        self._note("clear", "*", None, None)
        super().clear()

    def _note(self, operation: str, key: str, value: Any, timeout: Any) -> None:
        timeout_s = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        RECORDER.note("cache", {"op": operation, "key": str(key), "value": value, "timeout_s": timeout_s})

"""The record of a run on Redis: a hash with it, its token, and until when the lease lasts by the server's clock."""

from __future__ import annotations

import msgspec

from migrator.brokers.redis.keys import run_key
from migrator.brokers.redis.server import RedisServer
from migrator.brokers.run_record import LEASE_S, RunOwner


class RedisRunStore:
    """See :class:`migrator.brokers.run_record.RunStore`."""

    def __init__(self, url: str, plan_name: str) -> None:
        self._server = RedisServer(url)
        self._key = run_key(plan_name)
        self.where = f"{self._server.where} {self._key}"

    def read(self) -> tuple[RunOwner | None, float]:
        """Return the record, and how many seconds its lease lasts."""
        with self._server.translated():
            text, until_ms = self._server.client.hmget(self._key, "record", "until")
            seconds, microseconds = self._server.client.time()
        if text is None:
            return None, 0.0
        left_s = float(until_ms) / 1000 - seconds - microseconds / 1e6
        return msgspec.json.decode(text, type=RunOwner), max(left_s, 0.0)

    def replace(self, token: str, record: RunOwner | None, *, lease: bool) -> bool:
        """Write or delete the record, if the expected one is there."""
        text = b"" if record is None else msgspec.json.encode(record)
        life_ms = int(LEASE_S * 1000) if lease else 0
        with self._server.translated():
            new = record.token if record is not None else ""
            return bool(self._server.run("run_record", [self._key], [token, new, text, life_ms]))

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

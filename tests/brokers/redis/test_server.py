"""Facts about a Redis server that matter for messages, and the scripts that run on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker_stands import redis_stand

from migrator.brokers import redis
from migrator.embedded_redis import EmbeddedServer
from migrator.wire.message import System


@pytest.mark.parametrize("name", ["new_server", "old_server"])
@pytest.mark.parametrize("system", list(System))
def test_facts_say_what_would_endanger_messages(name: str, system: System, request: pytest.FixtureRequest) -> None:
    server: EmbeddedServer = request.getfixturevalue(name)
    with redis_stand(server, system) as (stand, client):
        facts = stand.broker.facts()
        assert (facts.role, facts.persistence, facts.eviction_policy) == ("master", "none", "noeviction")
        assert [finding.code for finding in facts.findings] == ["BROKER-VOLATILE"]
        assert facts.headroom_bytes is None
        client.config_set("maxmemory", facts.used_memory_bytes + 1000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            codes = {finding.code for finding in stand.broker.facts().findings}
            assert codes == {"BROKER-EVICTION", "BROKER-VOLATILE", "BROKER-MEMORY"}
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")


def test_the_scripts_are_in_the_package() -> None:
    folder = Path(redis.__file__).parent / "scripts"
    assert {file.stem for file in folder.glob("*.lua")} >= {"apply", "claim_ids", "claim_list", "push", "release"}

"""A policy of the server drops what was just moved there: the transfer is not done."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest
from rabbit_scene import RabbitScene
from rabbit_server import RabbitServer

from migrator.errors import RefusedError


def test_a_policy_that_drops_messages_is_noticed(any_scene: RabbitScene, rabbit: RabbitServer) -> None:
    scene, url = any_scene, any_scene.urls["unified"]
    for _ in range(12):
        scene.send("health_check_task")
    if not url.startswith("amqp"):
        assert scene.forward().moved == 12
        return
    host = quote(urlsplit(url).path[1:], safe="")
    policy = {"pattern": "^unified$", "definition": {"max-length": 5}, "apply-to": "queues"}
    rabbit.manage("PUT", f"policies/{host}/short", policy)
    with pytest.raises(RefusedError, match="7 of 12 in unified celery:unified"):
        scene.forward()

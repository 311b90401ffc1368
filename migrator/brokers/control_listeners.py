"""Count the Celery workers that listen on a broker, busy or not: one that runs a task in its only thread never answers.

Redis returns how many clients received a published message, but not which workers they are or what they consume.

Source: kombu/transport/redis.py (``_put_fanout``, ``keyprefix_fanout``), kombu/pidbox.py (``Node.handle_message``: a
message for another destination is ignored); Redis PUBLISH.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from uuid import uuid4

from migrator.brokers.connect import connect
from migrator.brokers.redis.celery import CeleryRedis
from migrator.plan.model import Endpoint
from migrator.wire.json_codec import encode_json


def listeners(endpoint: Endpoint, environ: Mapping[str, str]) -> int:
    """Return how many Celery workers listen for control messages, each one once; 0 where the broker is not Redis.

    Raises:
        UnreachableError: The broker does not answer.
    """
    with closing(connect(endpoint, environ)) as broker:
        return listeners_of(broker) if isinstance(broker, CeleryRedis) else 0


def listeners_of(broker: CeleryRedis) -> int:
    """Return how many Celery workers listen for control messages on an open broker."""
    with broker.server.translated():
        publish, prefix = broker.server.client.publish, broker.endpoint.key_prefix
        channels = (f"{start}celery.pidbox" for start in (f"{prefix}/{broker.server.database}.", prefix))
        return sum(publish(channel, _message_for_nobody()) for channel in channels)


def _message_for_nobody() -> bytes:
    """Return a control message that every worker receives and ignores.

    The body is in base64: kombu before 5.4 knows no other encoding, and a worker with it ends over any other.
    """
    return encode_json(
        {
            "body": b64encode(b'{"method":"ping","arguments":{},"destination":["nobody"]}').decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {},
            "properties": {
                "delivery_mode": 2,
                "delivery_info": {"exchange": "celery.pidbox", "routing_key": ""},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": uuid4().hex,
            },
        }
    )

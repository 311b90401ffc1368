"""Mangled messages in the legacy queues of a scene on RabbitMQ."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import amqp
from rabbit_scene import RabbitScene, amqp_content, mixed

from migrator.brokers.rabbitmq.server import RabbitmqServer

_HEADERS: tuple[Any, ...] = (None, 7, "x", b"\xff\xfe", [1, {"a": None}], {"deep": {"er": [1]}}, 2**40, -1.5, True)
_PER_TRANSACTION = 500


def put_mangled(scene: RabbitScene, number: int, chance: random.Random) -> None:
    """Publish so many messages: real ones with bytes changed, cut off, doubled, and headers of wrong types."""
    mixed(scene, 60)
    samples = {queue: amqp_content(scene.urls["celery"], queue) for queue in ("default", "default.DQ", "celery")}
    connection = RabbitmqServer(scene.urls["celery"]).open()
    channel = connection.channel()
    channel.tx_select()
    for index in range(number):
        queue = chance.choice(tuple(samples))
        body, properties = chance.choice(samples[queue])
        given = dict(properties)
        if queue == "celery":
            # Dramatiq writes none, and reads none.
            given["application_headers"] = _headers(dict(given.get("application_headers") or {}), chance)
        channel.basic_publish(amqp.Message(_mangled(body, chance), **given), exchange="", routing_key=queue)
        if index % _PER_TRANSACTION == 0:
            channel.tx_commit()
    channel.tx_commit()
    connection.close()


def whole(scene: RabbitScene) -> Counter[str]:
    """Return everything in the legacy queues by its content.

    Left out: headers with the prefix of our own, which nobody else may use, and the priority on AMQP of a Dramatiq
    message, which is written anew from what the message says.
    """
    found: Counter[str] = Counter()
    for queue, items in scene.legacy().items():
        for body, properties in items:
            given = {name: value for name, value in properties.items() if queue == "celery" or name != "priority"}
            headers = given.get("application_headers") or {}
            given["application_headers"] = {n: v for n, v in headers.items() if not n.startswith("x-tqm")}
            given = {name: value for name, value in given.items() if value != ""}
            found[f"{queue} {body!r} {sorted(given.items())!r}"] += 1
    return found


def _mangled(body: bytes, chance: random.Random) -> bytes:
    data = bytearray(body)
    match chance.randrange(7):
        case 0:
            return bytes(data[: chance.randrange(len(data) + 1)])
        case 1:
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            return bytes(data)
        case 2:
            at = chance.randrange(len(data))
            return bytes(data[:at] + data[at // 2 :])
        case 3:
            return chance.randbytes(chance.randrange(200))
        case 4:
            return b"[" * chance.randint(1, 3000) + bytes(data)
        case 5:
            return bytes(data).replace(b"null", chance.choice((b"NaN", b"[]", b'""', b"1e999", b'"\\ud800"')))
    return bytes(data)


def _headers(headers: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    if headers and chance.random() < 0.5:
        name = chance.choice(tuple(headers))
        if chance.random() < 0.3:
            del headers[name]
        else:
            headers[name] = chance.choice(_HEADERS)
    if chance.random() < 0.1:
        headers[chance.choice(("x-tqm", "x-tqm-id", "task", "id"))] = chance.choice(_HEADERS)
    return headers

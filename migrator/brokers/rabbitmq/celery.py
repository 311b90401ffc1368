"""Celery's queues on RabbitMQ, read without taking anything away.

One queue holds everything, including messages with an ETA; a worker takes those and holds them unacknowledged until
they are due. The messages are shown in the envelope that kombu uses on Redis
(:mod:`migrator.brokers.rabbitmq.codec`).

Source: kombu/transport/pyamqp.py; celery/app/amqp.py.
"""

from __future__ import annotations

from migrator.brokers.rabbitmq.broker import RabbitmqBroker


class CeleryRabbitmq(RabbitmqBroker):
    """The Celery queues of one endpoint."""

"""Dramatiq's queues on RabbitMQ, read without taking anything away.

``Q`` holds what may run, ``Q.DQ`` what is delayed, ``Q.XQ`` the dead letters. A message has no copy id there:
the transfer assigns one when it takes it. Workers hold delayed messages unacknowledged in memory, where AMQP does not
show them; they are requeued to ``Q.DQ`` when the worker ends.

Source: dramatiq/brokers/rabbitmq.py.
"""

from __future__ import annotations

from migrator.brokers.rabbitmq.broker import RabbitmqBroker


class DramatiqRabbitmq(RabbitmqBroker):
    """The Dramatiq queues of one endpoint."""

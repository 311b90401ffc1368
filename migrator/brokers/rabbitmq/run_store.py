"""The record of a run on RabbitMQ: the message of a queue. The lease is an exclusive queue, gone with its connection.

Source: https://www.rabbitmq.com/docs/queues#exclusive-queues, https://www.rabbitmq.com/docs/maxlength (``drop-head``),
https://www.rabbitmq.com/docs/heartbeats (a connection is closed after two that were missed).
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import amqp
import msgspec

from migrator.brokers.rabbitmq.codec import body_of
from migrator.brokers.rabbitmq.queues import lease_queue, run_queue
from migrator.brokers.rabbitmq.server import ERRORS, RabbitmqServer
from migrator.brokers.run_record import LEASE_S, RunOwner

#: Somebody else who reads the record has it for a moment.
_READ_WITHIN_S = 2.0


class RabbitmqRunStore:
    """See :class:`migrator.brokers.run_record.RunStore`."""

    def __init__(self, url: str, plan_name: str) -> None:
        self._server = RabbitmqServer(url)
        self._queue, self._lease = run_queue(plan_name), lease_queue(plan_name)
        self._connection: Any = None
        self.where = f"{self._server.where} {self._queue}"

    def read(self) -> tuple[RunOwner | None, float]:
        """Return the record, and how long its lease lasts at most, if somebody has it."""
        with self._server.connected() as connection:
            record = self._record(connection)
            try:
                connection.channel().queue_declare(queue=self._lease, passive=True)
            except amqp.exceptions.ResourceLocked:
                return record, LEASE_S
            except amqp.exceptions.NotFound:
                return record, 0.0
        return record, 0.0

    def replace(self, token: str, record: RunOwner | None, *, lease: bool) -> bool:
        """Write or delete the record, if the expected one is there and nobody else has the lease."""
        with self._server.translated():
            try:
                return self._replace(token, record, lease=lease)
            except ERRORS:
                # The lease is gone with the connection; on another one it may still be ours to take again.
                self.close()
                return self._replace(token, record, lease=lease)

    def close(self) -> None:
        """Close the connection, and end the lease with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*ERRORS):
                connection.close()

    def _replace(self, token: str, record: RunOwner | None, *, lease: bool) -> bool:
        if self._connection is None:
            connection = self._server.open(heartbeat_s=int(LEASE_S / 2))
            try:
                connection.channel().queue_declare(queue=self._lease, exclusive=True, auto_delete=False)
            except amqp.exceptions.ResourceLocked:
                connection.close()
                return False
            self._connection = connection
        found = self._record(self._connection)
        if (found.token if found is not None else "") != token:
            self.close()
            return False
        self._write(record)
        if not lease:
            self.close()
        return True

    def _write(self, record: RunOwner | None) -> None:
        channel = self._connection.channel()
        if record is None:
            channel.queue_delete(queue=self._queue)
        else:
            arguments = {"x-max-length": 1, "x-overflow": "drop-head"}
            channel.queue_declare(queue=self._queue, durable=True, auto_delete=False, arguments=arguments)
            channel.tx_select()
            message = amqp.Message(msgspec.json.encode(record), delivery_mode=2)
            channel.basic_publish(message, exchange="", routing_key=self._queue)
            channel.tx_commit()
        channel.close()

    def _record(self, connection: Any) -> RunOwner | None:
        """Look at the message; it goes back to its place when the channel is closed."""
        deadline = time.monotonic() + _READ_WITHIN_S
        while True:
            channel = connection.channel()
            try:
                message = channel.basic_get(queue=self._queue)
            except amqp.exceptions.NotFound:
                return None
            channel.close()
            if message is not None:
                return msgspec.json.decode(body_of(message), type=RunOwner)
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)

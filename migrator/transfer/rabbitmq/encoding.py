"""Translated messages as AMQP has them, where they go to RabbitMQ; what AMQP can't hold is quarantined."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from migrator.brokers.rabbitmq.codec import message_for
from migrator.translation.result import Translation, Translator
from migrator.wire.json_codec import UnreadableError
from migrator.wire.quarantined import Quarantined, QuarantineReason
from migrator.wire.queue_address import QueueAddress


def encoding(translate: Translator, is_on_rabbitmq: Callable[[QueueAddress], bool]) -> Translator:
    """Return the translation with the payload that the destination takes."""

    def encoded(address: QueueAddress, copy_id: str, raw: bytes) -> Translation:
        found = translate(address, copy_id, raw)
        if isinstance(found, Quarantined):
            return found
        if is_on_rabbitmq(address):
            # The id that the copy got when it was taken, whatever the message says: it is the key in the ledger.
            found = msgspec.structs.replace(found, source_copy=copy_id)
        if is_on_rabbitmq(found.address):
            try:
                return msgspec.structs.replace(found, payload=message_for(found.address, found.payload))
            except UnreadableError as error:
                return Quarantined(QuarantineReason.UNREADABLE, str(error), found.source_task, found.id)
        return found

    return encoded

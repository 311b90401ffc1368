"""A message for AMQP whose headers and properties are serialized once, to check that they fit and to send them."""

from __future__ import annotations

import struct
from typing import Any

import amqp

from migrator.wire.json_codec import UnreadableError

#: Frames of 128 KiB are the default on both ends; the frame itself needs some bytes.
MAX_PROPERTIES_BYTES = 131_072 - 512


class PreparedMessage(amqp.Message):  # type: ignore[misc]
    """A message that must not be changed any more once it is checked.

    Source: amqp/basic_message.py, amqp/serialization.py (``_serialize_properties``).
    """

    _serialized: bytes | None = None

    def check(self) -> None:
        """Serialize headers and properties.

        Raises:
            UnreadableError: AMQP can't hold them; the text says why.
        """
        try:
            serialized = super()._serialize_properties()
        except (amqp.AMQPError, struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableError(f"AMQP can't hold its headers: {str(error)[:120]}") from None
        if len(serialized) > MAX_PROPERTIES_BYTES:
            raise UnreadableError(
                f"its headers take {len(serialized)} bytes with the original in them; AMQP has {MAX_PROPERTIES_BYTES}"
            )
        self._serialized = serialized

    def _serialize_properties(self) -> Any:
        return super()._serialize_properties() if self._serialized is None else self._serialized

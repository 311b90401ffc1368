"""A message for AMQP whose headers and properties are written once: to see that they fit, and to send them."""

from __future__ import annotations

import struct
from typing import Any

import amqp

from migrator.wire.json_codec import UnreadableError

#: Frames of 128 KiB are the default of both sides; some bytes are the frame's own.
MAX_PROPERTIES_BYTES = 131_072 - 512


class WrittenMessage(amqp.Message):  # type: ignore[misc]
    """A message that nobody changes any more once it is checked.

    Source: amqp/basic_message.py, amqp/serialization.py (``_serialize_properties``).
    """

    _written: bytes | None = None

    def check(self) -> None:
        """Write headers and properties.

        Raises:
            UnreadableError: AMQP can't hold them; the text says why.
        """
        try:
            written = super()._serialize_properties()
        except (amqp.AMQPError, struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UnreadableError(f"AMQP can't hold its headers: {str(error)[:120]}") from None
        if len(written) > MAX_PROPERTIES_BYTES:
            raise UnreadableError(
                f"its headers take {len(written)} bytes with the original in them; AMQP has {MAX_PROPERTIES_BYTES}"
            )
        self._written = written

    def _serialize_properties(self) -> Any:
        return super()._serialize_properties() if self._written is None else self._written

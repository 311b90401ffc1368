"""Format of the deduplication log of one RabbitMQ: a head, then blocks, each with checksums.

A torn last block was not written completely, so the transaction that it announces was not begun. Anything else that is
damaged invalidates the whole file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from struct import Struct
from zlib import crc32

from migrator.transfer.rabbitmq.dedup_window import Transaction

#: Magic, number, checksum.
_HEAD = Struct(">12sII")
_MAGIC = b"tqm taken 1\n"
#: Kind, length of the content, number of consumed messages, queue, checksum of the content, checksum of the block head.
_BLOCK = Struct(">BII8sII")
_PUBLISHED = Struct(">8s16sI")
_KEY_BYTES = 16
BEGIN, COMMIT, KNOWN = 1, 2, 3


def digest(name: str) -> bytes:
    """Return the digest that stands for a name in the file."""
    return blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()


def head(number: int) -> bytes:
    """Return the head of the file with this number."""
    start = _MAGIC + number.to_bytes(4, "big")
    return start + crc32(start).to_bytes(4, "big")


def commit_block(queue: str) -> bytes:
    """Return the block that says that the transaction announced last is committed."""
    return _block(COMMIT, queue, b"")


def known_block(queue: str, keys: Iterable[bytes]) -> bytes:
    """Return the block that lists the messages consumed from a queue, oldest first."""
    return _block(KNOWN, queue, b"".join(keys))


def _block(kind: int, queue: str, content: bytes, consumed: int = 0) -> bytes:
    start = _BLOCK.pack(kind, len(content), consumed, digest(queue), crc32(content), 0)[:-4]
    return start + crc32(start).to_bytes(4, "big") + content


def begin_block(queue: str, transaction: Transaction) -> bytes:
    """Return the block that announces a transaction."""
    parts = [
        *transaction.consumed,
        *(_PUBLISHED.pack(digest(to), copy, index) for to, copy, index in transaction.published),
    ]
    return _block(BEGIN, queue, b"".join(parts), len(transaction.consumed))


def number_in(content: bytes) -> int:
    """Return the number in the head.

    Raises:
        ValueError: There is no such head.
    """
    if len(content) < _HEAD.size or content[: _HEAD.size] != head(number := int.from_bytes(content[12:16], "big")):
        raise ValueError("its head is damaged")
    return number


def blocks(content: bytes) -> Iterator[tuple[int, bytes, tuple[bytes, ...], list[tuple[bytes, bytes, int]]]]:
    """Yield kind, digest of the queue, keys and published messages of each block; a torn last block is left out.

    Raises:
        ValueError: A block is damaged.
    """
    at = _HEAD.size
    while at + _BLOCK.size <= len(content):
        kind, length, consumed, name, checksum, head_checksum = _BLOCK.unpack_from(content, at)
        if crc32(content[at : at + _BLOCK.size - 4]) != head_checksum:
            raise ValueError(f"it is damaged at byte {at}")
        at += _BLOCK.size
        part = content[at : at + length]
        if len(part) < length:
            return
        if crc32(part) != checksum:
            raise ValueError(f"it is damaged at byte {at}")
        at += length
        end = consumed * _KEY_BYTES if kind == BEGIN else length
        keys = tuple(part[start : start + _KEY_BYTES] for start in range(0, end, _KEY_BYTES))
        yield kind, name, keys, list(_PUBLISHED.iter_unpack(part[end:]))

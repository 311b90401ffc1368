"""Shape of the file that keeps what was taken from the queues of a RabbitMQ: a head, then blocks, each with checksums.

A last block that is torn is one that was not written to its end: what it announces was not begun. Anything else that
does not fit makes the whole file worthless.
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
#: Kind, length of the content, how many were taken, queue, checksum of the content, checksum of all before.
_BLOCK = Struct(">BII8sII")
_SENT = Struct(">8s16sI")
_KEY_BYTES = 16
BEGIN, COMMIT, KNOWN = 1, 2, 3


def digest(name: str) -> bytes:
    """Return what stands for a name in the file."""
    return blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()


def head(number: int) -> bytes:
    """Return the head of the file with this number."""
    start = _MAGIC + number.to_bytes(4, "big")
    return start + crc32(start).to_bytes(4, "big")


def commit_block(queue: str) -> bytes:
    """Return what says that the transaction that was announced last is through."""
    return _block(COMMIT, queue, b"")


def known_block(queue: str, keys: Iterable[bytes]) -> bytes:
    """Return what says which messages a queue gave, oldest first."""
    return _block(KNOWN, queue, b"".join(keys))


def _block(kind: int, queue: str, content: bytes, taken: int = 0) -> bytes:
    start = _BLOCK.pack(kind, len(content), taken, digest(queue), crc32(content), 0)[:-4]
    return start + crc32(start).to_bytes(4, "big") + content


def begin_block(queue: str, transaction: Transaction) -> bytes:
    """Return what announces a transaction."""
    parts = [*transaction.taken, *(_SENT.pack(digest(to), copy, index) for to, copy, index in transaction.sent)]
    return _block(BEGIN, queue, b"".join(parts), len(transaction.taken))


def number_in(content: bytes) -> int:
    """Return the number in the head.

    Raises:
        ValueError: There is no such head.
    """
    if len(content) < _HEAD.size or content[: _HEAD.size] != head(number := int.from_bytes(content[12:16], "big")):
        raise ValueError("its head is damaged")
    return number


def blocks(content: bytes) -> Iterator[tuple[int, bytes, tuple[bytes, ...], list[tuple[bytes, bytes, int]]]]:
    """Yield kind, digest of the queue, keys and what was published; a torn last block is left out.

    Raises:
        ValueError: A block is damaged.
    """
    at = _HEAD.size
    while at + _BLOCK.size <= len(content):
        kind, length, taken, name, checksum, own = _BLOCK.unpack_from(content, at)
        if crc32(content[at : at + _BLOCK.size - 4]) != own:
            raise ValueError(f"it is damaged at byte {at}")
        at += _BLOCK.size
        part = content[at : at + length]
        if len(part) < length:
            return
        if crc32(part) != checksum:
            raise ValueError(f"it is damaged at byte {at}")
        at += length
        end = taken * _KEY_BYTES if kind == BEGIN else length
        keys = tuple(part[start : start + _KEY_BYTES] for start in range(0, end, _KEY_BYTES))
        yield kind, name, keys, list(_SENT.iter_unpack(part[end:]))

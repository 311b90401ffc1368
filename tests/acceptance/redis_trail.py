"""What became of a message, from the server's append-only file: every command that ever named its id, in order.

Taking from a list names no message: one that was popped and never named again went with who popped it. The transfer
copies a message to its claim before it removes it, so whatever it takes is named again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def trails(folder: Path, ids: Iterable[str]) -> dict[str, list[str]]:
    """Return ``COMMAND key`` of every command that named one of these ids.

    Args:
        folder: Of the server; its append-only file must never have been rewritten.
        ids: Of messages.
    """
    wanted = {identifier.encode() for identifier in ids}
    found: dict[str, list[str]] = {identifier.decode(): [] for identifier in wanted}
    for file in sorted((folder / "appendonlydir").glob("*.incr.aof")):
        for words in _commands(file.read_bytes()):
            for word in words[2:]:
                for identifier in wanted.intersection(_ID.findall(word)):
                    found[identifier.decode()].append(f"{words[0].decode().upper()} {words[1].decode()}")
    return found


def popped_by_a_worker(trail: list[str], lists: Iterable[str]) -> bool:
    """True if the last that was heard of a message is that it was put into a list from which Celery workers take."""
    command, _, key = trail[-1].partition(" ") if trail else ("", "", "")
    return command in ("LPUSH", "RPUSH") and key in set(lists)


def _commands(content: bytes) -> Iterator[list[bytes]]:
    """Yield each command; a torn last one is left out."""
    at = 0
    while at < len(content):
        if content[at : at + 1] != b"*":
            at = content.find(b"\n", at) + 1 or len(content)
            continue
        end = content.find(b"\r\n", at)
        count, at = int(content[at + 1 : end]), end + 2
        words = []
        for _ in range(count):
            end = content.find(b"\r\n", at)
            if end < 0:
                return
            size = int(content[at + 1 : end])
            words.append(content[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        if at <= len(content):
            yield words

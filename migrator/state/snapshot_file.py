"""The file of a snapshot: lines of JSON with a checksum, compressed, complete or not there at all."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrator.errors import RefusedError, UsageError

FORMAT = "migrator-snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFacts:
    """What a snapshot file holds."""

    file: Path
    #: Messages; one that the server gave twice while it rearranged its table counts twice.
    messages: int
    #: By endpoint, such as ``legacy.dramatiq``.
    by_endpoint: Mapping[str, int]
    size_bytes: int
    sha256: str
    created_at: str
    plan: str
    fingerprint: str


@dataclass(slots=True, kw_only=True)
class Writer:
    stream: Any
    digest: Any = field(default_factory=hashlib.sha256)
    lines: int = 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Write one line."""
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        self.digest.update(line)
        self.lines += 1
        self.stream.write(line)


@contextmanager
def writing(file: Path) -> Iterator[Writer]:
    """Write lines to a file that appears, complete and on disk, when the block ends.

    Raises:
        UsageError: The file can't be written.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0) as stream:
                writer = Writer(stream=stream)
                yield writer
                writer.write({"end": True, "lines": writer.lines, "sha256": writer.digest.hexdigest()})
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        remedy = "make room on the disk, or name another file"
        raise RefusedError(str(file), "the snapshot can't be written", found=str(error), remedy=remedy) from error
    finally:
        partial.unlink(missing_ok=True)


def verify_snapshot(file: Path) -> SnapshotFacts:
    """Read a snapshot whole and compare its checksum.

    Raises:
        UsageError: It is no complete snapshot.
    """
    head: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for record in records(file):
        if not head:
            head = record
        elif record.get("counts"):
            counts[record["endpoint"]] = counts.get(record["endpoint"], 0) + len(record["items"])
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SnapshotFacts(
        file=file,
        messages=sum(counts.values()),
        by_endpoint=counts,
        size_bytes=file.stat().st_size,
        sha256=digest,
        created_at=head["created_at"],
        plan=head["plan"],
        fingerprint=head["fingerprint"],
    )


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a snapshot; an error at the end if its checksum does not fit.

    Raises:
        UsageError: It can't be read, or it is damaged.
    """
    digest, lines, record = hashlib.sha256(), 0, dict[str, Any]()
    try:
        with gzip.open(file, "rb") as stream:
            for line in stream:
                record = json.loads(line)
                if record.get("end"):
                    break
                digest.update(line)
                lines += 1
                if lines == 1 and (record.get("format"), record.get("version")) != (FORMAT, 1):
                    raise UsageError(str(file), "this is no snapshot of this tool", remedy="name another file")
                yield record
    except (OSError, EOFError, ValueError, AttributeError, zlib.error) as error:
        remedy = "use another snapshot; this one can't be trusted"
        raise UsageError(str(file), "the snapshot can't be read", found=str(error)[:200], remedy=remedy) from error
    if (record.get("lines"), record.get("sha256")) != (lines, digest.hexdigest()):
        remedy = "use another snapshot; this one can't be trusted"
        raise UsageError(str(file), "the snapshot is damaged: its checksum does not fit", remedy=remedy)


def encoded(item: tuple[Any, ...]) -> list[str]:
    """Return the parts of an item as text."""
    return [b64encode(part).decode() for part in item]


def decoded(item: list[str]) -> tuple[bytes, ...]:
    """Return what :func:`encoded` was given."""
    return tuple(b64decode(part) for part in item)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

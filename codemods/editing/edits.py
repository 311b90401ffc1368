"""Edits of one file: replacements of byte spans. Nothing outside a span can change.

The edits are kept sorted by position and never overlap, so their ends are sorted too: what a new edit may touch is its
neighbours, found by bisection. A log of what was added and removed makes it cheap to undo what was done since a mark.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

Span = tuple[int, int]


class OverlapError(Exception):
    """Two rewrites want the same bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One replacement; an insertion where start and end are equal."""

    start: int
    end: int
    text: str
    #: Name of the rewrite.
    rewrite: str


#: Start, end, serial number (insertions at one position keep the order in which they were made), and the edit.
Placed = tuple[int, int, int, Edit]


@dataclass(slots=True)
class Edits:
    """The edits of one file."""

    _placed: list[Placed] = field(default_factory=list)
    #: What was added (True) or removed (False), in order; its length is a mark.
    _log: list[tuple[bool, Placed]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Edit]:
        """Yield the edits by position."""
        return (edit for *_, edit in self._placed)

    def __len__(self) -> int:
        return len(self._placed)

    def replace(self, span: Span, text: str, rewrite: str) -> None:
        """Replace a span; the same edit twice counts once.

        Raises:
            OverlapError: Another edit touches these bytes.
        """
        edit = Edit(start=span[0], end=span[1], text=text, rewrite=rewrite)
        other = self._overlapping(span)
        if other is None:
            placed = (edit.start, edit.end, len(self._log), edit)
            insort(self._placed, placed)
            self._log.append((True, placed))
        elif other != edit:
            raise OverlapError(f"{rewrite} and {other.rewrite} both change bytes {edit.start} to {edit.end}")

    def take(self, span: Span, text: bytes) -> str:
        """Remove the edits inside a span and return its text with them applied."""
        first = last = bisect_left(self._placed, (span[0],))
        while last < len(self._placed) and self._placed[last][1] <= span[1]:
            last += 1
        inside = self._placed[first:last]
        del self._placed[first:last]
        self._log += [(False, placed) for placed in inside]
        return _apply(text, (edit for *_, edit in inside), *span).decode("utf-8")

    def apply(self, text: bytes) -> bytes:
        """Return the text with every edit applied."""
        return _apply(text, self, 0, len(text))

    def mark(self) -> int:
        """Return a mark for :meth:`rollback` and :meth:`since`."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Undo everything that was done since a mark."""
        while len(self._log) > mark:
            added, placed = self._log.pop()
            if added:
                del self._placed[bisect_left(self._placed, placed[:3])]
            else:
                insort(self._placed, placed)

    def since(self, mark: int) -> list[Placed]:
        """Return the edits that were made since a mark and are still there."""
        return [placed for added, placed in self._log[mark:] if added and self._index(placed) is not None]

    def discard(self, edits: Iterable[Placed]) -> None:
        """Remove edits that :meth:`since` returned, except those that are gone already."""
        for placed in edits:
            index = self._index(placed)
            if index is not None:
                del self._placed[index]
                self._log.append((False, placed))

    def starts_at(self, offset: int) -> bool:
        """Tell whether an edit starts at an offset."""
        index = bisect_left(self._placed, (offset,))
        return index < len(self._placed) and self._placed[index][0] == offset

    def covers(self, span: Span) -> bool:
        """Tell whether one edit replaces all of a span that is not empty."""
        other = self._overlapping(span)
        return other is not None and other.start <= span[0] and span[1] <= other.end

    def spans(self) -> list[Span]:
        """Return the spans of the edits, sorted."""
        return [(start, end) for start, end, *_ in self._placed]

    def counts(self) -> Counter[str]:
        """Return the number of edits of each rewrite, in the order in which the rewrites made their first ones."""
        return Counter(edit.rewrite for *_, edit in sorted(self._placed, key=lambda placed: placed[2]))

    def _overlapping(self, span: Span) -> Edit | None:
        """Return the first edit that shares bytes with a span, or None; insertions at its edges share none."""
        after = bisect_left(self._placed, (span[0], span[0] + 1))
        for index in (after - 1, after):
            if 0 <= index < len(self._placed):
                start, end, _, edit = self._placed[index]
                if span[0] < end and start < span[1]:
                    return edit
        return None

    def _index(self, placed: Placed) -> int | None:
        index = bisect_left(self._placed, placed[:3])
        return index if index < len(self._placed) and self._placed[index] is placed else None


def _apply(text: bytes, edits: Iterable[Edit], start: int, end: int) -> bytes:
    parts, position = [], start
    for edit in edits:
        parts += [text[position : edit.start], edit.text.encode("utf-8")]
        position = edit.end
    parts.append(text[position:end])
    return b"".join(parts)

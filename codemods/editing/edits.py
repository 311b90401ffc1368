"""Edits of one file: replacements of byte spans. Nothing outside a span can change."""

from __future__ import annotations

from dataclasses import dataclass, field


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


@dataclass(slots=True)
class Edits:
    """The edits of one file, in the order they were made."""

    items: list[Edit] = field(default_factory=list)

    def replace(self, span: tuple[int, int], text: str, rewrite: str) -> None:
        """Replace a span; the same edit twice counts once.

        Raises:
            OverlapError: Another edit touches these bytes.
        """
        edit = Edit(start=span[0], end=span[1], text=text, rewrite=rewrite)
        if edit.start != edit.end and edit in self.items:
            return
        for other in self.items:
            if edit.start < other.end and other.start < edit.end:
                raise OverlapError(f"{rewrite} and {other.rewrite} both change bytes {edit.start} to {edit.end}")
        self.items.append(edit)

    def take(self, span: tuple[int, int], text: bytes) -> str:
        """Remove the edits inside a span and return its text with them applied."""
        inside = [e for e in self.items if span[0] <= e.start and e.end <= span[1]]
        self.items = [e for e in self.items if e not in inside]
        return _apply(text, inside, *span).decode("utf-8")

    def apply(self, text: bytes) -> bytes:
        """Return the text with every edit applied."""
        return _apply(text, self.items, 0, len(text))


def _apply(text: bytes, edits: list[Edit], start: int, end: int) -> bytes:
    parts, position = [], start
    ordered = sorted(enumerate(edits), key=lambda pair: (pair[1].start, pair[1].end, pair[0]))
    for _, edit in ordered:
        parts += [text[position : edit.start], edit.text.encode("utf-8")]
        position = edit.end
    parts.append(text[position:end])
    return b"".join(parts)

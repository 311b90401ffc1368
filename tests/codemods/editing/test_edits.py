"""Edits of one file: sorted, without overlaps, and undone back to a mark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codemods.editing.edits import Edit, Edits, OverlapError

TEXT = b"0123456789" * 2
_SPANS = st.tuples(st.integers(0, 19), st.integers(0, 4)).map(lambda pair: (pair[0], min(pair[0] + pair[1], 20)))
_STEPS = st.lists(st.tuples(st.sampled_from(["replace", "replace", "take", "mark", "rollback"]), _SPANS), max_size=30)


class _Scanned:
    """The same by scanning a list, which is quadratic and easy to believe."""

    def __init__(self) -> None:
        self.items: list[Edit] = []

    def replace(self, edit: Edit) -> bool:
        if edit.start != edit.end and edit in self.items:
            return True
        if any(edit.start < other.end and other.start < edit.end for other in self.items):
            return False
        self.items.append(edit)
        return True

    def apply(self, inside: list[Edit], start: int, end: int) -> bytes:
        parts, position = [], start
        for edit in sorted(inside, key=lambda edit: (edit.start, edit.end)):
            parts += [TEXT[position : edit.start], edit.text.encode()]
            position = edit.end
        return b"".join([*parts, TEXT[position:end]])

    def take(self, start: int, end: int) -> str:
        inside = [edit for edit in self.items if start <= edit.start and edit.end <= end]
        self.items = [edit for edit in self.items if edit not in inside]
        return self.apply(inside, start, end).decode()


@given(_STEPS)
def test_edits_do_what_a_scan_of_all_of_them_does(steps: list[tuple[str, tuple[int, int]]]) -> None:
    edits, scanned = Edits(), _Scanned()
    mark, before = edits.mark(), list(scanned.items)
    for number, (what, span) in enumerate(steps):
        if what == "mark":
            mark, before = edits.mark(), list(scanned.items)
        elif what == "rollback":
            edits.rollback(mark)
            scanned.items = list(before)
        elif what == "take":
            assert edits.take(span, TEXT) == scanned.take(*span)
        else:
            edit = Edit(start=span[0], end=span[1], text=f"<{number % 3}>", rewrite="test")
            try:
                edits.replace(span, edit.text, "test")
            except OverlapError:
                assert not scanned.replace(edit)
            else:
                assert scanned.replace(edit)
        assert edits.apply(TEXT) == scanned.apply(scanned.items, 0, len(TEXT))
        assert len(edits) == len(scanned.items)


def test_what_was_made_since_a_mark_can_be_discarded() -> None:
    edits = Edits()
    edits.replace((0, 1), "a", "first")
    mark = edits.mark()
    edits.replace((2, 3), "b", "second")
    edits.replace((4, 5), "c", "second")
    made = edits.since(mark)
    assert edits.take((4, 5), TEXT) == "c"
    edits.discard(made)
    assert edits.apply(TEXT) == b"a" + TEXT[1:]
    assert edits.counts() == {"first": 1}


def test_it_is_known_where_edits_lie() -> None:
    edits = Edits()
    edits.replace((5, 8), "x", "test")
    assert edits.starts_at(5) and not edits.starts_at(6)
    assert edits.covers((6, 7)) and not edits.covers((7, 9))
    with pytest.raises(OverlapError, match="other and test both change bytes 6 to 6"):
        edits.replace((6, 6), "y", "other")


class _Counted(int):
    """An offset that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        type(self).compared += 1
        return int(self) < int(other)

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return int(self) == other


def _comparisons(count: int) -> int:
    edits = Edits()
    _Counted.compared = 0
    for number in range(count):
        mark = edits.mark()
        start = _Counted(number * 7919 % count * 10)
        edits.replace((start, _Counted(start + 4)), "x", "test")
        assert len(edits.since(mark)) == 1
    return _Counted.compared


def test_four_times_the_edits_take_about_four_times_the_comparisons() -> None:
    assert _comparisons(1600) < 6 * _comparisons(400)

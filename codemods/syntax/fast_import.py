"""Import LibCST with nodes that are not frozen: a third of the time to import it, and parsing is faster.

A frozen dataclass sets each field of a new object through a call. Only worker processes ask for this, before LibCST is
imported; they change no node. Other modules imported inside the block stay as they are.

Measured with ``benchmarks/bench_rewrite.py`` (2,500 files, medians of nine interleaved runs on two busy cores): the
whole command takes 1.33 s of user time, 1.44 s without this, and 1.55 s without this and without
:mod:`codemods.syntax.fast_nodes`; the scan beside it takes 0.25 s. The ratio of times is 3.3 to 3.8 with both, so both
are needed.
Source: ``dataclasses.py`` (``frozen``), ``libcst/_nodes/base.py`` (``__init_subclass__``: a hash of its own).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def fast_import() -> Iterator[None]:
    """Leave out ``frozen`` in LibCST's modules that are imported inside the ``with`` block."""
    original: Callable[..., Any] = dataclasses.dataclass

    def dataclass(kind: type | None = None, /, **options: Any) -> Any:
        def decorate(given: type) -> Any:
            ours = given.__module__.startswith("libcst._nodes.")
            return original(given, **({**options, "frozen": False} if ours else options))

        return decorate if kind is None else decorate(kind)

    vars(dataclasses)["dataclass"] = dataclass
    try:
        yield
    finally:
        vars(dataclasses)["dataclass"] = original

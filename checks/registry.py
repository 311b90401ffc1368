"""The kinds of parity checks besides running cases: the modules of :mod:`checks.kinds`, found by walking the folder."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module

from checks.compare.experiment import Comparison
from checks.protocol import KindContext


def kinds() -> dict[str, Callable[[KindContext], Iterable[Comparison]]]:
    """Return every kind by name, in alphabetical order."""
    from checks import kinds as package

    found = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {name: import_module(f"checks.kinds.{name}").compare for name in found}


def compare_all(context: KindContext) -> Iterator[Comparison]:
    """Yield the comparisons of every kind."""
    for compare in kinds().values():
        yield from compare(context)

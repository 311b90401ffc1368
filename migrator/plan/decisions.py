"""What a draft leaves to a person: values that say DECIDE, wherever they stand in the plan."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from migrator.plan.toml_lines import line_of, toml_lines

DECIDE = "DECIDE"
_WORD = re.compile(rf"\b{DECIDE}\b")


def is_open(text: str) -> bool:
    """Tell whether a text is still to be decided."""
    return _WORD.search(text) is not None


def open_decisions(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each key and value that is still to be decided, in the order of the document."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{path}.{key}" if path else str(key)
            if is_open(str(key)):
                yield inner, str(key)
            else:
                yield from open_decisions(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from open_decisions(item, f"{path}[{index}]")
    elif isinstance(value, str) and is_open(value):
        yield path, value


def draft_decisions(text: str) -> list[tuple[int, str, str]]:
    """Return the line, path and text of each open decision of a plan."""
    lines = toml_lines(text)
    return [(line_of(lines, path) or 0, path, value) for path, value in open_decisions(tomllib.loads(text))]

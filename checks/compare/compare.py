"""Find where two observations differ, and what is noise: equality first, detail only for what differs.

Source: ``deepdiff`` compares large equal lists slowly, so it only ever sees the two values of one difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from checks.cases.patterns import fits
from checks.compare.normalize import ABSENT
from checks.configuration import Rule, RuleKind
from migrator.agent.canonical import sort_key

#: Largest size of both values for which detail is computed, and the maximum number of its lines.
DETAIL_LIMIT_BYTES = 200_000
DETAIL_LINES = 12

Path = tuple[str, ...]


def equal(left: Any, right: Any) -> bool:
    """True if two canonical values are the same, types included (``1``, ``1.0`` and ``true`` differ)."""
    return sort_key(left) == sort_key(right)


def noise(first: Any, second: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths at which two runs of the same task differ; ``*`` stands for any item of a list."""
    if equal(first, second):
        return
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}):
            yield from noise(first.get(key, ABSENT), second.get(key, ABSENT), (*path, key))
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        yield from _list_noise(first, second, (*path, "*"))
    else:
        yield path


def masked(value: Any, paths: frozenset[Path], path: Path = ()) -> Any:
    """Return ``value`` with everything at the given paths replaced by its type."""
    if not paths:
        return value
    if path in paths:
        return {"$noise": type(value).__name__}
    if isinstance(value, Mapping):
        return {key: masked(item, paths, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        items = [masked(item, paths, (*path, "*")) for item in value]
        # Noise decided the order of the items; the rest decides it now.
        return sorted(items, key=sort_key) if any(known[: len(path)] == path for known in paths) else items
    return value


def rules_for(case: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the rules that apply to a case."""
    return tuple(rule for rule in rules if any(fits(pattern, case) for pattern in rule.cases))


def without_ignored(value: Any, rules: Sequence[Rule], path: str = "") -> Any:
    """Return ``value`` without the paths that the rules ignore."""
    if isinstance(value, Mapping):
        children = {key: f"{path}.{key}" if path else key for key in value}
        return {
            key: without_ignored(item, rules, children[key])
            for key, item in value.items()
            if not any(rule.kind is RuleKind.IGNORE and fits(rule.path, children[key]) for rule in rules)
        }
    if isinstance(value, list):
        return [without_ignored(item, rules, f"{path}.*") for item in value]
    return value


def differences(legacy: Any, unified: Any, rules: Sequence[Rule], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield ``(path, legacy, unified)`` for each smallest named part that differs."""
    if equal(legacy, unified):
        return
    rule = next((rule for rule in rules if fits(rule.path, path)), None)
    if rule is not None and _excused(rule, legacy, unified):
        return
    if isinstance(legacy, Mapping) and isinstance(unified, Mapping) and not _tagged(legacy, unified):
        for key in sorted({*legacy, *unified}):
            child = f"{path}.{key}" if path else key
            yield from differences(legacy.get(key, ABSENT), unified.get(key, ABSENT), rules, child)
    else:
        yield path, legacy, unified


def detail(legacy: Any, unified: Any) -> list[str]:
    """Return the exact differences between two values, one per line, up to a limit."""
    if len(sort_key(legacy)) + len(sort_key(unified)) > DETAIL_LIMIT_BYTES:
        return ["too large to compare in detail"]
    if not isinstance(legacy, (list, dict)) or not isinstance(unified, (list, dict)):
        return []
    from deepdiff import DeepDiff

    found = DeepDiff(legacy, unified, ignore_order=False, verbose_level=2, max_passes=1)
    lines = [line for line in found.pretty().splitlines() if line]
    more = len(lines) - DETAIL_LINES
    return [line[:300] for line in lines[:DETAIL_LINES]] + ([f"… and {more} more"] if more > 0 else [])


def _list_noise(first: list[Any], second: list[Any], path: Path) -> Iterator[Path]:
    if sorted(map(sort_key, first)) == sorted(map(sort_key, second)):
        return
    if not all(isinstance(item, Mapping) for item in (*first, *second)):
        yield path
        return
    for key in sorted({key for item in (*first, *second) for key in item}):
        left, right = ([item.get(key, ABSENT) for item in items] for items in (first, second))
        if sorted(map(sort_key, left)) == sorted(map(sort_key, right)):
            continue
        inner = {found for pair in zip(left, right, strict=True) for found in noise(*pair, (*path, key))}
        yield from sorted(inner)


def _tagged(*values: Mapping[str, Any]) -> bool:
    return any(key.startswith("$") for value in values for key in value)


def _excused(rule: Rule, legacy: Any, unified: Any) -> bool:
    if rule.kind is RuleKind.UNORDERED:
        both_lists = isinstance(legacy, list) and isinstance(unified, list)
        return both_lists and sorted(map(sort_key, legacy)) == sorted(map(sort_key, unified))
    numbers = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in (legacy, unified))
    return numbers and abs(legacy - unified) <= rule.tolerance

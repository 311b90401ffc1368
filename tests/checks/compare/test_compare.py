"""Equality with types, noise, rules, canonical values and patterns."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.cases.patterns import fits
from checks.compare.compare import detail, differences, equal, masked, noise, rules_for, without_ignored
from checks.compare.normalize import ABSENT
from checks.configuration import Rule, RuleKind
from migrator.agent.canonical import STRING_LIMIT, Frame, canonical, digest

CLOCK = datetime(2026, 3, 2, 12, tzinfo=UTC)
FRAME = Frame(clock=CLOCK.timestamp(), names=(("id-1", "<message-id>"),))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.floats(0, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, ""), ([1], (1, 1))])
def test_types_matter(left: object, right: object) -> None:
    assert not equal(left, right)


def test_the_order_of_keys_does_not_matter() -> None:
    assert equal({"a": 1, "b": 2}, {"b": 2, "a": 1})


@given(JSON, JSON)
def test_there_is_a_difference_exactly_when_unequal(left: object, right: object) -> None:
    assert bool(list(differences(left, right, ()))) is not equal(left, right)


@given(JSON)
def test_nothing_differs_from_itself(value: object) -> None:
    assert list(noise(value, value)) == []
    assert list(differences(value, value, ())) == []


@given(st.dictionaries(st.text("abc", max_size=2), st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=5))
def test_masking_noise_makes_two_runs_equal(pairs: dict[str, tuple[int, int]]) -> None:
    first, second = ({key: pair[side] for key, pair in pairs.items()} for side in (0, 1))
    paths = frozenset(noise(first, second))
    assert paths == {(key,) for key, (left, right) in pairs.items() if left != right}
    assert equal(masked(first, paths), masked(second, paths))


def test_differences_are_named_by_their_smallest_part() -> None:
    left = {"value": {"a": 1, "b": [1, 2]}, "effects": {"mail": []}}
    right = {"value": {"a": 2, "b": [2, 1]}, "effects": {"mail": [], "cache": {}}}
    assert list(differences(left, right, ())) == [
        ("effects.cache", ABSENT, {}),
        ("value.a", 1, 2),
        ("value.b", [1, 2], [2, 1]),
    ]


def test_noise_in_rows_is_found_by_column_whatever_their_order() -> None:
    first = {"rows": [{"name": "a", "token": "x"}, {"name": "b", "token": "y"}]}
    second = {"rows": [{"name": "b", "token": "z"}, {"name": "a", "token": "w"}]}
    paths = frozenset(noise(first, second))
    assert paths == {("rows", "*", "token")}
    assert equal(masked(first, paths), masked(second, paths))


def test_noise_does_not_hide_the_rest() -> None:
    paths = frozenset({("rows", "*", "token")})
    left = masked({"rows": [{"name": "a", "token": "x"}]}, paths)
    right = masked({"rows": [{"name": "b", "token": "x"}]}, paths)
    assert [path for path, _, _ in differences(left, right, ())] == ["rows"]


def rule(kind: RuleKind, path: str, **more: object) -> Rule:
    return Rule(**{"path": path, "kind": kind, "tolerance": 0.0, "reason": "r", **more})  # type: ignore[arg-type]


def test_rules_excuse_only_what_they_name() -> None:
    left = {"a": [1, 2], "b": 1.0, "c": [1, 2]}
    right = {"a": [2, 1], "b": 1.4, "c": [2, 1]}
    rules = (rule(RuleKind.UNORDERED, "a"), rule(RuleKind.TOLERANCE, "b", tolerance=0.5))
    assert [path for path, _, _ in differences(left, right, rules)] == ["c"]
    strict = (rule(RuleKind.TOLERANCE, "b", tolerance=0.3),)
    assert [path for path, _, _ in differences(left, right, strict)] == ["a", "b", "c"]


def test_an_ignored_path_is_left_out_even_where_only_one_side_has_it() -> None:
    rules = (rule(RuleKind.IGNORE, "value.elapsed"),)
    assert without_ignored({"value": {"elapsed": 1, "n": 2}}, rules) == {"value": {"n": 2}}


def test_a_rule_may_hold_for_some_cases_only() -> None:
    some = rule(RuleKind.IGNORE, "value", cases=("warming-*",))
    assert rules_for("warming-total", (some,)) == (some,)
    assert rules_for("total", (some,)) == ()


def test_detail_is_capped() -> None:
    left, right = list(range(300)), [n + 1 for n in range(300)]
    assert len(detail(left, right)) <= 13
    assert detail(["x" * 300_000], ["y"]) == ["too large to compare in detail"]
    assert detail(1, 2) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (CLOCK, "<clock>"),
        (CLOCK.isoformat(), "<clock>"),
        (CLOCK.replace(tzinfo=None), "<clock, naive>"),
        (CLOCK.timestamp(), "<clock>"),
        (int(CLOCK.timestamp() * 1000), "<clock ms>"),
        (CLOCK + timedelta(hours=1), "2026-03-02T13:00:00+00:00"),
        (date(2026, 3, 2), "2026-03-02"),
        ("task id-1 done", "task <message-id> done"),
        (Decimal("1.10"), {"$decimal": "1.10"}),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({3, 1, 2}, {"$set": [1, 2, 3]}),
        ((1, 2), [1, 2]),
        (math.nan, {"$float": "nan"}),
        (2**70, {"$integer": str(2**70)}),
        ({1: "a"}, {"1": "a"}),
        (ValueError("x"), {"$exception": "ValueError", "message": "x"}),
        ("\ud800", "\\ud800"),
        (True, True),
    ],
)
def test_values_become_plain_data(value: object, expected: object) -> None:
    found = canonical(value, FRAME)
    assert found == expected and type(found) is type(expected)
    orjson.dumps(found)


def test_moments_of_the_case_keep_their_name() -> None:
    day_before = CLOCK - timedelta(days=1)
    frame = Frame(clock=CLOCK.timestamp(), moments={int(day_before.timestamp()): "clock-1d"})
    assert canonical(day_before, frame) == "<clock-1d>"


def test_objects_lose_their_address() -> None:
    assert canonical(object(), FRAME) == canonical(object(), FRAME)


def test_large_values_become_size_and_digest() -> None:
    long = canonical("x" * (STRING_LIMIT + 1), FRAME)
    assert long["$long"] == STRING_LIMIT + 1
    assert canonical("x" * (STRING_LIMIT + 1) + "y", FRAME) != long
    many = canonical(list(range(5000)), FRAME)
    assert len(many) == 2001 and many[-1]["$more"] == 3000
    assert canonical([*range(4999), "other"], FRAME) != many
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    orjson.dumps(canonical(deep, FRAME))


@given(JSON)
def test_a_digest_is_of_the_value(value: object) -> None:
    assert digest(value) == digest(orjson.loads(orjson.dumps(value)))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("effects.*", "effects.rows.a", True),
        ("effects.*", "effects", False),
        ("*-last", "x-last", True),
        ("*-last", "x-last-attempt", False),
        ("a.[x]", "a.[x]", True),
        ("a.[x]", "a.x", False),
        ("a?b", "a?b", True),
        ("a?b", "axb", False),
        ("*", "", True),
    ],
)
def test_the_only_wildcard_is_the_star(pattern: str, text: str, expected: bool) -> None:
    assert fits(pattern, text) is expected

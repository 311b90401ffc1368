"""A waiver covers a kind of difference with a reason, and only the content that somebody accepted."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from checks.compare.waivers import Waivers, accept, apply_waivers, load_waivers, pruned, review, write_lock
from migrator.errors import PlanError, UsageError
from migrator.report import Mismatch, Outcome

TODAY = date(2026, 3, 2)
TEXT = """
[[waiver]]
id = "backoff"
improvement = "B"
paths = ["retry.delay_s"]
tasks = ["tasks.fetch_*"]
reason = "waits double"
owner = "team"
expires = 2026-06-30

[[waiver]]
id = "logs"
paths = ["effects.logs"]
systems = ["dramatiq"]
reason = "other texts"
owner = "team"
expires = 2026-03-01
"""


def waivers(folder: Path, text: str = TEXT) -> Waivers:
    file = folder / "waivers.toml"
    file.write_text(text)
    return load_waivers(file)


def difference(**changes: object) -> Mismatch:
    values = {
        "case": "total",
        "task": "tasks.fetch_news",
        "system": "celery",
        "path": "retry.delay_s",
        "outcome": Outcome.MISMATCHED,
        "legacy": 30,
        "unified": 60,
    }
    return Mismatch(**{**values, **changes})  # type: ignore[arg-type]


def outcome(mismatch: Mismatch, given: Waivers) -> Outcome:
    return apply_waivers([mismatch], given, TODAY)[0].outcome


def test_nothing_is_waived_before_it_is_accepted(tmp_path: Path) -> None:
    (found,) = apply_waivers([difference()], waivers(tmp_path), TODAY)
    assert found.outcome is Outcome.MISMATCHED
    assert found.reason == "backoff covers it; run with --accept backoff to accept its content"


def test_accepted_content_is_waived_with_its_reason(tmp_path: Path) -> None:
    given = accept([difference()], waivers(tmp_path), ["backoff"])
    write_lock(given)
    (found,) = apply_waivers([difference()], load_waivers(given.file), TODAY)
    assert found.outcome is Outcome.WAIVED
    assert found.reason == "backoff: waits double"


@pytest.mark.parametrize(
    "change", [{"unified": 61}, {"legacy": 31}, {"unified": 60.0}, {"unified": "60"}, {"unified": True}]
)
def test_other_content_is_not(tmp_path: Path, change: dict[str, object]) -> None:
    given = accept([difference()], waivers(tmp_path), ["backoff"])
    (found,) = apply_waivers([difference(**change)], given, TODAY)
    assert found.outcome is Outcome.MISMATCHED
    assert "other content: 60" in found.reason


@pytest.mark.parametrize("change", [{"case": "usual"}, {"system": "dramatiq"}, {"path": "retry"}])
def test_another_path_or_case_is_not(tmp_path: Path, change: dict[str, object]) -> None:
    given = accept([difference()], waivers(tmp_path), ["backoff"])
    assert outcome(difference(**change), given) is Outcome.MISMATCHED


def test_accepting_takes_only_what_the_waiver_covers(tmp_path: Path) -> None:
    given = accept([difference(task="tasks.cleanup"), difference(path="value")], waivers(tmp_path), ["backoff", "logs"])
    assert given.pins == ()


def test_what_could_not_be_compared_is_never_accepted_or_waived(tmp_path: Path) -> None:
    given = accept([difference()], waivers(tmp_path), ["backoff"])
    broken = difference(outcome=Outcome.NOT_COMPARED)
    assert outcome(broken, given) is Outcome.NOT_COMPARED
    assert accept([broken], waivers(tmp_path), ["backoff"]).pins == ()


def test_an_expired_waiver_covers_nothing_and_is_reported(tmp_path: Path) -> None:
    log = difference(path="effects.logs", system="dramatiq")
    given = accept([log], waivers(tmp_path), ["logs"])
    found = apply_waivers([log], given, TODAY)
    assert (found[0].outcome, found[0].reason) == (Outcome.MISMATCHED, "logs expired on 2026-03-01")
    assert [finding.code for finding in review(found, given, TODAY)] == ["WAIVER-UNMATCHED", "WAIVER-EXPIRED"]


def test_the_last_day_counts(tmp_path: Path) -> None:
    log = difference(path="effects.logs", system="dramatiq")
    given = accept([log], waivers(tmp_path), ["logs"])
    assert apply_waivers([log], given, date(2026, 3, 1))[0].outcome is Outcome.WAIVED


def test_an_accepted_difference_that_is_gone_is_reported_and_pruned(tmp_path: Path) -> None:
    text = TEXT.replace("2026-03-01", "2026-12-31")
    log = difference(path="effects.logs", system="dramatiq")
    given = accept([difference(), log], waivers(tmp_path, text), ["backoff", "logs"])
    now = apply_waivers([difference()], given, TODAY)
    assert [finding.code for finding in review(now, given, TODAY)] == ["WAIVER-UNMATCHED", "WAIVER-STALE"]
    assert [pin.waiver for pin in pruned(now, given).pins] == ["backoff"]


def test_pruning_only_removes(tmp_path: Path) -> None:
    given = accept([difference()], waivers(tmp_path), ["backoff"])
    assert pruned([difference(unified=61), difference(case="new")], given).pins == given.pins


def test_the_lock_file_does_not_depend_on_the_order(tmp_path: Path) -> None:
    found = [difference(case=name) for name in ("b", "a", "c")]
    write_lock(accept(found, waivers(tmp_path), ["backoff"]))
    first = (tmp_path / "waivers.lock.json").read_bytes()
    write_lock(accept(reversed(found), waivers(tmp_path), ["backoff"]))
    assert (tmp_path / "waivers.lock.json").read_bytes() == first


def test_every_problem_is_listed_at_once(tmp_path: Path) -> None:
    text = '[[waiver]]\nid = "a"\npaths = []\nreson = "x"\nowner = "o"\nexpires = "soon"\n'
    with pytest.raises(PlanError) as error:
        waivers(tmp_path, text)
    text = str(error.value)
    assert "waiver[0].paths: may not be empty" in text
    assert "waiver[0].reason: is missing" in text
    assert "waiver[0].reson: is not a known key (did you mean 'reason'?)" in text
    assert "waiver[0].expires: needs a date" in text


def test_an_id_stands_once(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="more than once"):
        waivers(tmp_path, TEXT.replace('"logs"', '"backoff"'))


@pytest.mark.parametrize("text", ["{", '[{"waiver": "x"}]', '{"a": 1}'])
def test_a_broken_lock_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "waivers.lock.json").write_text(text)
    with pytest.raises(UsageError, match="restore it from git"):
        waivers(tmp_path)


def test_no_file_means_no_waivers(tmp_path: Path) -> None:
    assert load_waivers(tmp_path / "none.toml").waivers == ()

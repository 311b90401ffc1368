"""The page in a real browser: its script runs, the filter works, and it renders in light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headless_browser import browse, find_browser

from checks.compare.experiment import Comparison
from checks.compare.report import ParityReport
from checks.reports.page import page, side_by_side
from migrator.report import Mismatch, Outcome

needs_browser = pytest.mark.usefixtures("browser")
HOSTILE = "</script><img src=x onerror=document.title='taken'>"


def comparison(number: int, outcome: Outcome) -> Comparison:
    about = {"case": f"case-{number}", "task": f"tasks.t{number % 2}", "system": "celery"}
    found = Mismatch(path="value", outcome=outcome, legacy={"a": HOSTILE}, unified=[HOSTILE], reason=HOSTILE, **about)
    mismatches = () if outcome is Outcome.MATCHED else (found,)
    return Comparison(title=HOSTILE, kind="usual", legacy_name=HOSTILE, mismatches=mismatches, **about)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    outcomes = [Outcome.MATCHED, Outcome.WAIVED, Outcome.MISMATCHED, Outcome.NOT_COMPARED, Outcome.MISMATCHED]
    comparisons = tuple(comparison(number, outcome) for number, outcome in enumerate(outcomes))
    target = tmp_path / "parity.html"
    target.write_text(page(ParityReport(plan=HOSTILE, fingerprint="f", comparisons=comparisons)))
    return target


@pytest.fixture(scope="session")
def browser() -> str:
    return find_browser()


def shown(dom: str) -> str:
    found = re.search(r'id="shown"[^>]*>([^<]*)<', dom)
    return found[1] if found else ""


@needs_browser
@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        ("", "5 of 5"),
        ("#outcome=mismatched", "2 of 5"),
        ("#task=tasks.t1", "2 of 5"),
        ("#outcome=mismatched&task=tasks.t0", "2 of 5"),
        ("#outcome=waived&task=tasks.t0", "0 of 5"),
        ("#text=CASE-3", "1 of 5"),
        ("#unknown=1", "5 of 5"),
    ],
)
def test_the_filter_shows_what_is_asked(file: Path, fragment: str, expected: str) -> None:
    dom = browse("--dump-dom", f"file://{file}{fragment}")
    assert shown(dom) == expected
    hidden = len(re.findall(r"<details[^>]*hidden", dom))
    assert f"{5 - hidden} of 5" == expected


@needs_browser
def test_nothing_of_a_value_is_run(file: Path) -> None:
    dom = browse("--dump-dom", f"file://{file}")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None and title[1].startswith("Parity of &lt;/script&gt;")
    assert "<img" not in dom


@needs_browser
def test_it_draws_in_light_and_dark(file: Path, tmp_path: Path) -> None:
    pictures = []
    for number, mode in enumerate(("", "--blink-settings=preferredColorScheme=0")):
        target = tmp_path / f"shot-{number}.png"
        browse("--window-size=1200,900", f"--screenshot={target}", *filter(None, [mode]), f"file://{file}")
        pictures.append(target.read_bytes())
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 20_000 for picture in pictures)
    assert pictures[0] != pictures[1]


def test_open_differences_come_first_and_are_expanded(file: Path) -> None:
    found = re.findall(r'<details data-task="[^"]*" data-outcome="([^"]*)" data-kind="usual"( open)?', file.read_text())
    assert [outcome for outcome, _ in found] == ["could-not-compare", "mismatched", "mismatched", "waived", "matched"]
    assert [bool(opened) for _, opened in found] == [True, True, True, False, False]


def test_within_a_comparison_open_differences_come_first() -> None:
    about = {"case": "case", "task": "tasks.t", "system": "celery", "legacy": 1, "unified": 2}
    found = (
        Mismatch(path="a", outcome=Outcome.WAIVED, reason="wanted: yes", **about),
        Mismatch(path="b", outcome=Outcome.MISMATCHED, **about),
    )
    item = Comparison(
        case="case", title="t", kind="usual", task="t", system="celery", legacy_name="l", mismatches=found
    )
    text = page(ParityReport(plan="p", fingerprint="f", comparisons=(item,)))
    assert re.findall(r"<h3><span[^>]*>[^<]*</span> (\w)</h3>", text) == ["b", "a"]


@needs_browser
def test_nothing_stands_beyond_the_edge_of_a_narrow_window(file: Path) -> None:
    text = file.read_text().replace("</body>", "<script>document.title = document.documentElement.scrollWidth</script>")
    narrow = file.with_name("narrow.html")
    narrow.write_text(text)
    dom = browse("--window-size=500,900", "--dump-dom", f"file://{narrow}")
    title = re.search(r"<title>(\d+)</title>", dom)
    assert title is not None and int(title[1]) <= 500


def test_both_sides_are_marked_where_they_differ() -> None:
    left, right = side_by_side({"a": 1, "b": 2}, {"a": 1, "b": 3})
    assert [line for kind, line in left if kind] == [' "b": 2']
    assert [(kind, line) for kind, line in right if kind] == [("added", ' "b": 3')]


def test_long_values_are_cut() -> None:
    left, _ = side_by_side(list(range(1000)), "x" * 10_000)
    assert len(left) == 121 and left[-1][1] == "… and 882 more lines"
    _, right = side_by_side(None, "x" * 10_000)
    assert len(right[0][1]) == 601

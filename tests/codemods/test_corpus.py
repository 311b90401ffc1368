"""What no single rewrite is about: code that stays as it is, ignores with their reason, legacy names in text."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_project import read_cases
from corpus_shapes import BY_REWRITE, GENERAL, IN_PLACE, Shape, shapes_of

REWRITES = Path(__file__).parents[2] / "codemods" / "rewrites"


@pytest.mark.parametrize("shape", [param for file in sorted(GENERAL.glob("*.txt")) for param in shapes_of(file.stem)])
def test_shape(tmp_path: Path, shape: Shape) -> None:
    shape.check(tmp_path)


def test_every_file_of_cases_is_read_by_the_test_of_its_rewrite() -> None:
    for file in (*BY_REWRITE.glob("*.txt"), *IN_PLACE.glob("*.txt")):
        assert (REWRITES / f"{file.stem}.py").exists(), f"{file.name}: there is no such rewrite"
        test = BY_REWRITE.parent / f"test_{file.stem}.py"
        assert f'shapes_of("{file.stem}")' in test.read_text(), f"{test.name} does not read it"


def test_untouched_cases_come_first() -> None:
    for file in (*BY_REWRITE.glob("*.txt"), *IN_PLACE.glob("*.txt")):
        touched = [case.before != case.after for case in read_cases(file)]
        assert touched == sorted(touched), f"{file.name}: a case that changes nothing comes after one that does"

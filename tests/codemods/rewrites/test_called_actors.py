"""Cases of `codemods/rewrites/called_actors.py`, first what it leaves untouched."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_shapes import Shape, shapes_of


@pytest.mark.parametrize("shape", shapes_of("called_actors"))
def test_shape(tmp_path: Path, shape: Shape) -> None:
    shape.check(tmp_path)

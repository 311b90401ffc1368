"""Who may import whom: the contracts of pyproject.toml hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_go_one_way() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


def test_nothing_that_ships_imports_the_fixtures_or_the_tests() -> None:
    for package in ("migrator", "codemods", "checks"):
        for path in (ROOT / package).rglob("*.py"):
            for line in path.read_text().splitlines():
                assert not line.lstrip().startswith(("import fixtures", "from fixtures", "import tests", "from tests"))

"""Keep what one expensive fixture serves on one worker of pytest-xdist."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the group to the id, by which ``--dist loadgroup`` goes.

    xdist 3.8 sets ``_nodeid``, which pytest 9.2 no longer looks at (``_pytest/nodeid.py``); with an older pytest the
    id has its group already.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        groups = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
        if groups and HERE in item.path.parents and not item.nodeid.endswith(f"@{groups}"):
            from _pytest.nodeid import coerce_node_id

            item._id = coerce_node_id(f"{item.nodeid}@{groups}")  # type: ignore[attr-defined]

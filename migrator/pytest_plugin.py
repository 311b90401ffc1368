"""The pytest plugin, ``pytest --parity``: its options. The cases are collected by :mod:`checks.pytest_plugin`.

pytest loads this module in every run of its environment, a project's own tests included. So nothing else of ours is
imported unless the option is given, and a project that has packages called like ours is refused.
Source: https://docs.pytest.org/en/stable/how-to/writing_plugins.html
"""

from __future__ import annotations

import os

import pytest

from migrator.errors import RefusedError
from migrator.project.shared_environment import refuse_namesakes, refuse_packages


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--parity`` and ``--parity-plan``."""
    group = parser.getgroup("parity", "parity of legacy and unified Celery tasks")
    group.addoption("--parity", action="store_true", help="Collect the parity cases of a migration plan as test items.")
    group.addoption(
        "--parity-plan", default="migration.toml", metavar="FILE", help="The plan (default: migration.toml)."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse a project whose package ``migrator`` can't be imported beside this one."""
    config.addinivalue_line("markers", "parity: a parity case; collected with --parity")
    if not config.getoption("--parity"):
        folders = dict.fromkeys([config.rootpath, config.invocation_params.dir, *config.getini("pythonpath")])
        try:
            refuse_packages(folders, ["migrator"])
        except RefusedError as error:
            raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the parity cases to the collected items."""
    if not config.getoption("--parity"):
        return
    from migrator.plan.loader import load_plan

    plan_file = (config.invocation_params.dir / config.getoption("--parity-plan")).resolve()
    try:
        refuse_namesakes(load_plan(plan_file), os.environ)
    except RefusedError as error:
        raise pytest.UsageError(str(error)) from error
    from checks.pytest_plugin import collect

    items.extend(collect(session, plan_file))

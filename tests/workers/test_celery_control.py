"""A broker that goes away while we talk to workers is an error that a person can act on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from shop import DATA

from migrator.embedded_redis import embedded_server
from migrator.errors import ExitCode, UnreachableError
from migrator.plan.loader import load_plan
from migrator.workers import celery_control


def test_a_broker_that_goes_away_between_two_requests_is_unreachable(tmp_path: Path) -> None:
    endpoint = replace(load_plan(DATA / "migration.toml").unified, url="${BROKER}")
    with embedded_server(folder=tmp_path) as server, pytest.raises(UnreachableError) as caught:
        environ = {"BROKER": server.url(0)}
        with celery_control.control(endpoint, environ) as control:
            assert celery_control.pid_of(control, "nobody@nowhere") is None
            server.kill()
            celery_control.pid_of(control, "nobody@nowhere")
    assert caught.value.exit_code is ExitCode.UNREACHABLE
    assert "the broker does not answer" in str(caught.value)

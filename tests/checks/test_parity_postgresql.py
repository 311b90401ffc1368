"""Databases on a PostgreSQL server: the observations are the same as on SQLite, and every database is dropped."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from shop_project import RESTOCK, RESTOCK_ACTOR, ROWS, STOCK, add_case, be_patient, check, copy_shop, restock_case

from checks.compare.report import ParityReport
from migrator.errors import UnreachableError, UsageError
from migrator.report import Outcome

# All these tests share one server.
pytestmark = pytest.mark.xdist_group("postgresql")


def differences(report: ParityReport) -> dict[tuple[str, str], list[tuple[str, object, object]]]:
    found: dict[tuple[str, str], list[tuple[str, object, object]]] = {}
    for item in report.mismatches:
        assert item.outcome is not Outcome.NOT_COMPARED, item
        if ":" not in item.case and "shop_delivery" not in item.path:  # its tokens are random
            found.setdefault((item.case, item.system), []).append((item.path, item.legacy, item.unified))
    return found


@pytest.mark.acceptance
def test_observations_are_the_same_as_on_sqlite(tmp_path: Path, postgres_server: str) -> None:
    plan = copy_shop(tmp_path)
    be_patient(plan)
    for twist in ("update", "deleted", "row"):
        restock_case(plan, f"twist-{twist}", f"twist-{twist}")
    restock_case(plan, "same", "same")
    restock_case(plan, "last", "failing", attempts=2, unified_ends="dead-letter", legacy_ends="exception")
    call = {"system": "dramatiq", "task": RESTOCK_ACTOR, "args": ["disagree"]}
    add_case(plan, "actor", call, http=[STOCK], rows=ROWS)
    here = differences(check(plan, noise=False, database=postgres_server))
    assert here == differences(check(plan, noise=False))
    assert here["twist-update", "celery"][0][0] == "effects.rows.shop_item.updated"
    assert "effects.rows.shop_item.deleted" in {path for path, _, _ in here["twist-deleted", "celery"]}
    assert here["last", "celery"][0][0] == "effects.dead_letters"
    assert ("same", "celery") not in here
    with psycopg.connect(postgres_server) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'parity%'").fetchall()
    assert left == []


def test_a_server_that_cannot_be_used_is_reported_first(tmp_path: Path) -> None:
    plan = copy_shop(tmp_path)
    add_case(plan, "same", {"system": "celery", "task": RESTOCK, "args": ["same"]})
    with pytest.raises(UnreachableError, match="the server can't be reached") as caught:
        check(plan, database="postgresql://somebody:secret@127.0.0.1:1/postgres")
    assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="is not the URL of a PostgreSQL server"):
        check(plan, database="mysql://127.0.0.1/shop")

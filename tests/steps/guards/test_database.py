"""Guard of the database: it answers, and every app has migrations."""

from __future__ import annotations

from guard_context import codes, context
from shop import Shop

from migrator.steps.guards import database


def test_a_database_that_does_not_answer(shop: Shop) -> None:
    report = database.guard(context(shop, environ={**shop.environ, "SHOP_DATABASE": "/no/such/folder/shop.sqlite3"}))
    assert codes(report) == {"DATABASE-UNREACHABLE"}
    assert "unable to open database file" in str(report.errors[0])


def test_an_app_without_migrations(shop: Shop) -> None:
    (shop.folder / "src/jobs/migrations/0001_initial.py").unlink()
    assert codes(database.guard(context(shop))) == {"DATABASE-NO-MIGRATIONS"}

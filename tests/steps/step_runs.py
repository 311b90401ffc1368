"""What the tests of the steps share: another run, and the tables that a step made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

from shop import Shop

from migrator.state.journal import EntryKind, Phase, entry
from migrator.steps.protocol import Context
from migrator.wire.message import Side


def begin(context: Context) -> Context:
    """Begin another run, in which every process of the legacy side was running."""
    started = replace(context, run=context.run + 1)
    running = [process.name for process in context.plan.select(side=Side.LEGACY)]
    started.journal.write(entry(started.run, Phase.FORWARD, EntryKind.RUN_BEGUN, data={"running": running}))
    return started


def tables(shop: Shop) -> set[str]:
    """The tables of the unified app, from the database itself."""
    with closing(sqlite3.connect(shop.folder / "src" / "shop.sqlite3")) as database:
        return {name for (name,) in database.execute("select name from sqlite_master where name like 'jobs_%'")}

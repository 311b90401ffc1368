"""A PostgreSQL server of our own on a Unix socket and a free port, ended by pid."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tasks_host import wait_until

from migrator.servers import free_port

#: What to install where there is none.
MISSING = "NOT TESTED ON POSTGRESQL: no server found; install it (Debian: apt-get install postgresql) and run again"


def find_binaries() -> Path | None:
    """Return the folder with initdb, if a server is installed."""
    candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (str(candidates[-1]) if candidates else None)
    return Path(found).resolve().parent if found else None


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run a server and give the URL of an empty database; root can't run one, so it runs as nobody then."""
    binaries = find_binaries()
    assert binaries is not None, MISSING
    folder.mkdir(mode=0o755)
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        account = pwd.getpwnam(user)
        os.chown(folder, account.pw_uid, account.pw_gid)
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    as_user = {"user": user, "env": environ, "cwd": folder, "stdin": subprocess.DEVNULL}
    subprocess.run(
        [binaries / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "-N"],
        check=True, capture_output=True, timeout=120, **as_user,
    )  # fmt: skip
    with (folder.parent / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "", "-F"],
            stdout=log, stderr=log, **as_user,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(folder, port), "PostgreSQL")
        yield f"postgresql://tester@{quote(str(folder), safe='')}:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)


def _answers(folder: Path, port: int) -> bool:
    import psycopg

    try:
        with psycopg.connect(host=str(folder), port=port, user="tester", dbname="postgres", connect_timeout=3):
            return True
    except psycopg.OperationalError:
        return False

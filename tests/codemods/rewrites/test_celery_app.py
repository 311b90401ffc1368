"""Cases of `codemods/rewrites/celery_app.py` and of the app that the installation writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from in_place import make_in_place

from codemods.runner import rewrite

JOBS = "import dramatiq\n\n\n@dramatiq.actor\ndef work(x): ...\n"
SETTINGS = 'SECRET_KEY = "x"\n'


def rewritten(folder: Path, files: dict[str, str], broker: str = "redis://localhost/0") -> dict[str, str]:
    """Rewrite a project with its settings in a package, twice, and return its files."""
    base = {"shop/__init__.py": "", "shop/settings.py": SETTINGS, "jobs.py": JOBS, **files}
    plan = make_in_place(folder, {"work": ["x"]}, base)
    text = plan.file.read_text().replace('settings = "settings"', 'settings = "shop.settings"')
    head, _, tail = text.partition("[unified]")
    plan.file.write_text(head + "[unified]" + tail.replace("redis://localhost/0", broker, 1))
    from migrator.plan.loader import load_plan

    plan = load_plan(plan.file)
    rewrite(plan)
    found = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.py")}
    assert not rewrite(plan).changed
    return found


@pytest.mark.parametrize(
    "app",
    ["from celery import Celery\n\nqueue = Celery()\n", "import celery\n\n\nclass Own(celery.Celery): ...\n"],
    ids=["called", "subclass"],
)
def test_a_project_with_an_app_is_left_alone(tmp_path: Path, app: str) -> None:
    found = rewritten(tmp_path, {"shop/queue.py": app})
    assert "shop/celery.py" not in found
    assert found["shop/__init__.py"] == ""
    assert found["shop/settings.py"].startswith(SETTINGS)
    assert "CELERY_BROKER_URL" not in found["shop/settings.py"]


@pytest.mark.parametrize("name", ["shop/other.py", "shop/tests/test_x.py"])
def test_the_word_alone_or_an_app_of_a_test_is_no_app(tmp_path: Path, name: str) -> None:
    app = "# Celery?\n" if "other" in name else "from celery import Celery\n\nqueue = Celery()\n"
    assert "shop/celery.py" in rewritten(tmp_path, {name: app})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "from .celery import app as celery_app\n"),
        ('"""Shop."""\n', '"""Shop."""\nfrom .celery import app as celery_app\n'),
        ("import os\n\nVERSION = 1\n", "import os\n\nfrom .celery import app as celery_app\n\nVERSION = 1\n"),
    ],
    ids=["empty", "docstring", "imports"],
)
def test_the_package_imports_the_app(tmp_path: Path, before: str, after: str) -> None:
    assert rewritten(tmp_path, {"shop/__init__.py": before})["shop/__init__.py"] == after


@pytest.mark.parametrize(
    ("broker", "written"),
    [
        ("redis://h/1", '"redis://h/1"'),
        ("${URL}", 'environ["URL"]'),
        ("${URL:-amqp://h}", 'environ.get("URL", "amqp://h")'),
        (
            "redis://${HOST:-h}:${PORT:-6379}/2",
            '"redis://" + environ.get("HOST", "h") + ":" + environ.get("PORT", "6379") + "/2"',
        ),
    ],
)
def test_the_settings_name_the_broker_of_the_plan(tmp_path: Path, broker: str, written: str) -> None:
    found = rewritten(tmp_path, {}, broker)
    assert f"CELERY_BROKER_URL = {written}\n" in found["shop/settings.py"]
    assert 'CELERY_IMPORTS = ["jobs"]\n' in found["shop/settings.py"]
    compile(found["shop/settings.py"], "settings.py", "exec")


def test_what_the_settings_say_already_stays(tmp_path: Path) -> None:
    settings = 'import os as o\n\nCELERY_BROKER_URL = o.environ["URL"]\nCELERY_IMPORTS = []\n'
    found = rewritten(tmp_path, {"shop/settings.py": settings}, "${URL}")
    assert found["shop/settings.py"].startswith(settings)
    assert found["shop/settings.py"].count("CELERY_BROKER_URL") == 1


@pytest.mark.parametrize(("own", "zone"), [("", "Europe/Berlin"), ('CELERY_TIMEZONE = "Asia/Tokyo"\n', "Asia/Tokyo")])
def test_the_app_counts_in_the_time_zone_of_django(tmp_path: Path, own: str, zone: str) -> None:
    rewritten(tmp_path, {"shop/settings.py": f'{SETTINGS}TIME_ZONE = "Europe/Berlin"\n{own}'})
    code = "import shop; print(shop.celery_app.timezone)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == zone, done.stderr

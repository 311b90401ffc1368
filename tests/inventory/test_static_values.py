"""Values of expressions: what the source alone says, and what it doesn't."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrator.inventory.callables import loading
from migrator.inventory.static_values import StaticValues, UnknownValueError

FILES = {
    "conf/__init__.py": "",
    "conf/base.py": """\
import os

import environ

env = environ.Env(DEBUG=(bool, False))
REDIS = os.environ.get("REDIS", "redis://h:1")
TWICE = "a"
TWICE = "b"
PARTLY = "a"
if REDIS:
    PARTLY = "b"
GROWN = ["a"]
GROWN += ["b"]
""",
    "conf/prod.py": "from .base import *\n\nURL = f'{REDIS}/0'\n",
    "conf/classes.py": "class Base:\n    ONLY_HERE = 'x'\n",
    "conf/names.py": "from enum import Enum\n\n\nclass Queue(str, Enum):\n    MAIL = 'mail'\n",
}
HEAD = """\
import os
from datetime import timedelta
from django.conf import settings
from os import environ, getenv
from conf import base, names
from conf.base import REDIS, TWICE, PARTLY, GROWN, env
from conf.classes import Base
from conf.names import Queue
HOST = "h"
OPTIONS = {"a": {"b": [1, 2]}}
class Inner:
    HIDDEN = "x"
def make():
    return "x"
"""


def value(folder: Path, text: str) -> Any:
    for name, content in {**FILES, "app.py": f"{HEAD}WANTED = {text}\n"}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    load = loading(folder, {})
    facts = load("app")
    assert facts is not None
    return StaticValues(load, ("conf.prod",)).of(facts, facts.values["WANTED"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a" + "b"', "ab"),
        ('f"redis://{HOST}:{6379}/0"', "redis://h:6379/0"),
        ('"redis://%s/%s" % (HOST, 1)', "redis://h/1"),
        ('"redis://{}/{n}".format(HOST, n=1)', "redis://h/1"),
        ('os.environ["A"]', "${A}"),
        ('environ["A"]', "${A}"),
        ('os.environ.get("A", "x") + "/0"', "${A:-x}/0"),
        ('getenv("A", 5)', "${A:-5}"),
        ('int(os.getenv("A", "5"))', "${A:-5}"),
        ('os.environ.get("A") or "x"', "${A:-x}"),
        ('env("A", default="x")', "${A:-x}"),
        ('env.str("A")', "${A}"),
        ("REDIS", "${REDIS:-redis://h:1}"),
        ("base.REDIS", "${REDIS:-redis://h:1}"),
        ("settings.URL", "${REDIS:-redis://h:1}/0"),
        ("Queue.MAIL", "mail"),
        ("names.Queue.MAIL.value", "mail"),
        ('OPTIONS["a"]["b"][1]', 2),
        ('{**OPTIONS, "c": -3}', {"a": {"b": [1, 2]}, "c": -3}),
        ("dict(a=1) | {'b': 2}", {"a": 1, "b": 2}),
        ("list(range(3))", [0, 1, 2]),
        ("timedelta(hours=1, minutes=5)", 3900),
        ("timedelta(1)", 86400),
        ("60 * 60 * 2", 7200),
    ],
)
def test_what_the_source_says(tmp_path: Path, text: str, expected: Any) -> None:
    assert value(tmp_path, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "make()",
        "TWICE",
        "PARTLY",
        "GROWN",
        "HIDDEN",
        "ONLY_HERE",
        "Base.OTHER",
        "settings.ABSENT",
        '"a" if HOST else "b"',
        'os.environ.get("A", os.environ.get("B", "x"))',
        "os.environ.get(HOST + '-')",
        "env(HOST, default=make())",
        'f"{HOST!r}"',
        'f"{HOST:>5}"',
        '"%(a)s" % OPTIONS',
        "OPTIONS[HOST]",
        "lambda: 1",
        "[x for x in HOST]",
        "HOST.upper()",
    ],
)
def test_what_it_does_not_say(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnknownValueError):
        value(tmp_path, text)

"""Names, arguments and file names as text that acts on nothing when it is printed.

A message may be called anything: an escape sequence would move the cursor or write the clipboard, a line break would
forge a line of a report, a bidirectional mark would turn one around.
Source: https://www.unicode.org/reports/tr44/#General_Category_Values (the categories of the characters).
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any

#: Control, format, surrogate, line separator, paragraph separator.
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class Verbatim(str):
    """A line that is printed as it is: what acts in it is our own."""

    __slots__ = ()


def one_line(text: str) -> str:
    r"""Return a text as one line, with each character that acts on a terminal as an escape such as ``\x1b``.

    Tabs stay. What cannot be encoded, such as a file name that is not UTF-8, becomes an escape as well.
    """
    if text.isprintable():
        return text
    return "".join(letter.encode("unicode_escape").decode() if _acts(letter) else letter for letter in text)


def plain_lines(text: str) -> str:
    """Return a text of several lines, each as :func:`one_line`."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def github_text(text: str) -> str:
    """Return a text for a GitHub workflow command, on one line.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    return one_line(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace("##[", "# #["))


def json_document(document: Any) -> str:
    r"""Return indented JSON in which what acts on a terminal or in a log is an escape such as ``\u009b``.

    What cannot be encoded, such as a file name that is not UTF-8, is text such as ``\udce9``.
    """
    text = json_bytes(document, indent=True).decode().replace("##[", "##\\u005b")
    if text.isascii():
        return text
    return "".join(_json_escape(letter) if letter != "\n" and _acts(letter) else letter for letter in text)


def json_bytes(document: Any, *, indent: bool = False) -> bytes:
    """Return JSON; what cannot be encoded is written as an escape."""
    import orjson

    options = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        return orjson.dumps(document, option=options, default=str)
    except TypeError:
        return orjson.dumps(_encodable(document), option=options, default=str)


def _acts(letter: str) -> bool:
    return letter != "\t" and unicodedata.category(letter) in _ACTING


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _encodable(value: Any) -> Any:
    """Return a document with its surrogates as escapes."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encodable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encodable(dataclasses.asdict(value))
    return value

"""Comments that the rewrites read or write: ``# migrator: ignore[CODE] reason`` dismisses a place, a mark names one.

An ignore stands on the place's line or alone on the line above it. One without a reason, or one that dismisses nothing,
is listed itself.
"""

from __future__ import annotations

import io
import re
import tokenize
from dataclasses import dataclass

from codemods.editing.context import FileContext
from codemods.outcome import Leftover
from codemods.plan.reason_codes import REASONS
from migrator.inventory.unfollowed import UNSEEN
from migrator.report import Severity

_IGNORE = re.compile(r"#\s*migrator:\s*ignore\[(?P<codes>[^\]]*)\]\s*(?P<reason>.*)")
_MARK = "# migrator: "
WORD = b"migrator: ignore["


@dataclass(slots=True)
class _Ignore:
    line: int
    #: Line whose places it dismisses.
    target: int
    codes: frozenset[str]
    reason: str
    used: bool = False


def dismiss(context: FileContext) -> None:
    """Remove the leftovers that an ignore comment dismisses; list ignores that are unused or give no reason."""
    if WORD not in context.source.text:
        return
    ignores = _ignores(context)
    kept: dict[Leftover, None] = {}
    for leftover in context.result.leftovers:
        ignore = next((i for i in ignores if i.target == leftover.line and leftover.code in i.codes and i.reason), None)
        if ignore is None:
            kept[leftover] = None
        else:
            ignore.used = True
    context.result.leftovers = kept
    for ignore in ignores:
        if not ignore.used:
            unknown = sorted(code for code in ignore.codes if code not in REASONS)
            detail = "it gives no reason" if not ignore.reason else f"no such code {unknown[0]}" if unknown else ""
            found = context.source.line_text(ignore.line).strip()
            context.result.leftovers[Leftover(code="UNUSED-IGNORE", line=ignore.line, found=found, detail=detail)] = (
                None
            )


def _ignores(context: FileContext) -> list[_Ignore]:
    found = []
    for line, text, alone in _comments(context.source.text.decode("utf-8")):
        match = _IGNORE.match(text)
        if match:
            codes = frozenset(code.strip() for code in match["codes"].split(",") if code.strip())
            target = _next_code_line(context, line) if alone else line
            reason = match["reason"].strip()
            found.append(_Ignore(line, target, codes, reason, used=bool(reason) and UNSEEN in codes))
    return found


def _next_code_line(context: FileContext, line: int) -> int:
    """Return the first line below that is no comment: several ignores may stand above one place."""
    following = line + 1
    while context.source.line_text(following).lstrip().startswith("#"):
        following += 1
    return following


def _comments(text: str) -> list[tuple[int, str, bool]]:
    """Return line, text and whether it stands alone, of every comment outside strings."""
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text, newline="").readline):
            if token.type == tokenize.COMMENT:
                found.append((token.start[0], token.string, not token.line[: token.start[1]].strip()))
    except (tokenize.TokenError, SyntaxError):
        for number, line in enumerate(text.splitlines(), 1):
            if "# migrator:" in line:
                head, _, tail = line.partition("# migrator:")
                found.append((number, f"# migrator:{tail}", not head.strip()))
    return found


def mark(context: FileContext) -> None:
    """Write a comment above each place that was left alone, unless it is there."""
    text = context.source.text
    for leftover in context.result.leftovers:
        if leftover.severity is not Severity.ERROR or leftover.anchor < 0:
            continue
        start = leftover.anchor
        above = text[text.rfind(b"\n", 0, max(start - 1, 0)) + 1 : start].decode("utf-8").strip()
        if above.startswith(f"{_MARK}{leftover.code}"):
            continue
        line = text[start : text.find(b"\n", start)].decode("utf-8")
        indent = line[: len(line) - len(line.lstrip())]
        what = f"{leftover.code}: {REASONS[leftover.code].what}; {REASONS[leftover.code].remedy}"
        context.result.rewrite_name = "mark"
        context.replace_span(start, start, f"{indent}{_MARK}{what}{context.source.newline()}")

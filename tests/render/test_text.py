"""Text output: the verdict first, the most severe finding first, its remedy below it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

from migrator.render.text import finding_lines, report_lines, table
from migrator.report import Finding, Report, Severity


def finding(severity: Severity, code: str) -> Finding:
    return Finding(code=code, severity=severity, where="queue [default]", what="is odd", found="7", remedy="do this")


def test_the_most_severe_finding_comes_first_with_its_remedy() -> None:
    lines = finding_lines([finding(Severity.INFO, "A"), finding(Severity.ERROR, "B"), finding(Severity.WARNING, "C")])
    assert lines[0] == "error   B  queue [default]: is odd (7)"
    assert lines[1].strip() == "do: do this"
    assert [line.split()[1] for line in lines[::2]] == ["B", "C", "A"]


def test_the_first_line_is_the_verdict() -> None:
    assert report_lines(Report(subject="preflight", checked=3))[0] == "preflight: ok, 3 checked"
    assert "NOTHING WAS CHECKED" in report_lines(Report(subject="preflight", checked=0))[0]
    red = Report(subject="preflight", checked=3, findings=(finding(Severity.ERROR, "B"),))
    assert report_lines(red)[0] == "preflight: NOT OK, 3 checked: 1 error(s)"


def test_piped_output_is_not_folded() -> None:
    assert any("x" * 300 in line for line in table("", ["#n", "text"], [[1, "x" * 300]]))


def on_a_terminal(columns: int, code: str) -> list[str]:
    """Run Python on a real terminal of that width and return its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environ = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, env=environ) as child:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            # The other end of the terminal was closed.
            pass
        assert child.wait(timeout=60) == 0
    os.close(ours)
    return shown.decode().split("\r\n")


def test_a_narrow_terminal_breaks_no_word() -> None:
    name = "unified-worker-of-the-night"
    code = (
        "from migrator.render.text import table\n"
        f"rows = [['{name}', 'running', 4711], ['unified-beat', '', 4712]]\n"
        "print(*table('Processes', ['process', 'state', '#pid'], rows), sep='\\n')"
    )
    narrow = [
        "Processes",
        f"process: {name}",
        "  state: running",
        "  pid: 4711",
        "process: unified-beat",
        "  pid: 4712",
    ]
    assert on_a_terminal(40, code)[:-1] == narrow
    wide = on_a_terminal(60, code)
    assert any(line.split() == [name, "running", "4711"] for line in wide), wide


def test_many_findings_of_one_code_are_counted() -> None:
    lines = finding_lines([finding(Severity.WARNING, "C")] * 5 + [finding(Severity.ERROR, "B")], most=2)
    assert sum(line.startswith("warning") for line in lines) == 2
    assert lines[-1].strip() == "and 3 more C; --format json lists all"


def test_brackets_are_text() -> None:
    lines = "\n".join(table("[b]of[/b]", ["name"], [["no price for [btc]"], ["x[/b]"]]))
    assert "no price for [btc]" in lines and "x[/b]" in lines and "[b]of[/b]" in lines

"""Errors with an exit code and a message that says where, what is wrong and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum

from migrator.plain_text import one_line


class ExitCode(IntEnum):
    """The exit codes; they mean the same for every command."""

    #: Success, no differences.
    CLEAN = 0
    #: Differences were found: files would change, a mismatch, leftovers.
    DIFFERENCES = 1
    #: The command line, the plan or a case is wrong.
    USAGE = 2
    #: A broker, database or worker can't be reached or did not answer in time, or the project's interpreter is broken.
    UNREACHABLE = 3
    #: A guard refused: going on could lose something.
    REFUSED = 4
    #: Interrupted; the same command resumes.
    INTERRUPTED = 5
    #: An error of the tool itself.
    INTERNAL = 70


class MigratorError(Exception):
    """An error that the operator can act on.

    Args:
        where: File, key path, queue, process or server, as exact as possible.
        what: What is wrong, in one clause.
        found: What was found there; empty if there is nothing to show.
        remedy: What to do next; a command if there is one.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, where: str, what: str, *, found: str = "", remedy: str = "") -> None:
        super().__init__(where, what, found, remedy)
        self.where = where
        self.what = what
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return sentence(where=self.where, what=self.what, found=self.found, remedy=self.remedy)


class UsageError(MigratorError):
    """The command line or an input file is wrong."""

    exit_code = ExitCode.USAGE


class PlanError(UsageError):
    """The plan has problems; all of them are listed.

    Args:
        problems: One sentence each, beginning with the key path.
    """

    def __init__(self, where: str, problems: tuple[str, ...]) -> None:
        super().__init__(where, f"{len(problems)} problem(s) in the plan", remedy="correct them and run again")
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  {one_line(problem)}" for problem in self.problems)])


class UnreachableError(MigratorError):
    """A broker, database or worker can't be reached, or a bounded wait ran out."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(MigratorError):
    """A guard refused to go on."""

    exit_code = ExitCode.REFUSED


class ForgottenError(RefusedError):
    """A server has forgotten messages that it had confirmed."""


class InterruptedRunError(MigratorError):
    """The run was interrupted and can be resumed with the same command."""

    exit_code = ExitCode.INTERRUPTED


def sentence(*, where: str, what: str, found: str = "", remedy: str = "") -> str:
    """Return ``where: what (found); remedy`` without the empty parts, on one line."""
    text = f"{where}: {what}" if where else what
    if found:
        text += f" ({found})"
    if remedy:
        text += f"; {remedy}"
    return one_line(text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'nearest'?``, or an empty string if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]!r}?" if close else ""


class AdaptationError(MigratorError):
    """The arguments of a call don't fit the plan; the message stays in its queue."""

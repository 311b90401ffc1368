"""Who works on the files: this process, or several that each keep what they parsed until it is rewritten.

Every file is parsed once. A worker is started only where there is enough to do; it ends with its pipe.
Source: https://docs.python.org/3/library/multiprocessing.html (pipes, start methods)
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from codemods.engine.source import Source, UnparsableError
from codemods.engine.targets import PlanIndex
from codemods.engine.work import Outcome, parse, rewrite_source, survey
from migrator.errors import MigratorError

#: Below this much source the start of a process costs more than it saves.
_WORTH_BYTES = 200_000
_MOST = 8
_ANSWER_TIMEOUT_S = 600.0
_END_TIMEOUT_S = 5.0
_END = "end"

Exports = tuple[dict[str, str], dict[str, str]]


class Crew(Protocol):
    """Takes files, surveys them, rewrites them."""

    def take(self, files: Mapping[Path, bytes]) -> list[Outcome]:
        """Parse files and keep them; return those that can't be parsed."""

    def survey(self, index: PlanIndex) -> Exports:
        """Return what the kept files re-export, and what it will be called."""

    def rewrite(self, index: PlanIndex, only: tuple[Path, ...]) -> list[Outcome]:
        """Rewrite the kept files that lie in one of the places; all if none is given."""


class Station:
    """One process's share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[Path, Source] = {}

    def take(self, files: Mapping[Path, bytes]) -> list[Outcome]:
        failed = []
        for file, data in files.items():
            try:
                self.sources[file] = parse(file, data)
            except UnparsableError as error:
                shown = self._shown(file)
                failed.append(Outcome(file=file, shown=shown, before=data, after=data, unparsable=str(error)))
        return failed

    def survey(self, index: PlanIndex) -> Exports:
        exports: dict[str, str] = {}
        renames: dict[str, str] = {}
        for file, source in self.sources.items():
            try:
                found = survey(source, index, self._shown(file))
            except UnparsableError:
                continue  # listed when it is rewritten
            exports.update(found.exports)
            renames.update(found.renames)
        return exports, renames

    def rewrite(self, index: PlanIndex, only: tuple[Path, ...]) -> list[Outcome]:
        chosen = [f for f in self.sources if not only or any(f.is_relative_to(place) for place in only)]
        return [rewrite_source(self.sources[file], index, self._shown(file)) for file in chosen]

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.folder))


class Workers:
    """Several stations, each in a process of its own."""

    def __init__(self, connections: list[Connection]) -> None:
        self.connections = connections

    def take(self, files: Mapping[Path, bytes]) -> list[Outcome]:
        shares: list[dict[Path, bytes]] = [{} for _ in self.connections]
        sizes = [0] * len(shares)
        for file, data in sorted(files.items(), key=lambda item: len(item[1]), reverse=True):
            lightest = sizes.index(min(sizes))
            shares[lightest][file] = data
            sizes[lightest] += len(data)
        return [outcome for part in self._ask("take", [(share,) for share in shares]) for outcome in part]

    def survey(self, index: PlanIndex) -> Exports:
        exports: dict[str, str] = {}
        renames: dict[str, str] = {}
        for part in self._ask("survey", [(index,)] * len(self.connections)):
            exports.update(part[0])
            renames.update(part[1])
        return exports, renames

    def rewrite(self, index: PlanIndex, only: tuple[Path, ...]) -> list[Outcome]:
        return [outcome for part in self._ask("rewrite", [(index, only)] * len(self.connections)) for outcome in part]

    def _ask(self, method: str, arguments: list[tuple[Any, ...]]) -> Iterator[Any]:
        for connection, args in zip(self.connections, arguments, strict=True):
            connection.send((method, args))
        for connection in self.connections:
            try:
                if not connection.poll(_ANSWER_TIMEOUT_S):
                    raise MigratorError("rewrite", f"a worker process did not answer within {_ANSWER_TIMEOUT_S:.0f} s")
                yield connection.recv()
            except (EOFError, ConnectionResetError) as error:
                raise MigratorError("rewrite", "a worker process ended; nothing was written") from error


@contextmanager
def crew(folder: Path, size_bytes: int) -> Iterator[Crew]:
    """Give whoever is right for this much source; processes end with the block."""
    count = min(os.cpu_count() or 1, _MOST, size_bytes // _WORTH_BYTES + 1)
    if count < 2:
        yield Station(folder)
        return
    context = multiprocessing.get_context()
    started: list[tuple[Any, Connection]] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, folder), daemon=True)
            process.start()
            theirs.close()
            started.append((process, ours))
        yield Workers([connection for _, connection in started])
    finally:
        for process, connection in started:
            with suppress(OSError):
                connection.send(_END)  # a later process may hold a copy of this pipe, so closing is not enough
            connection.close()
            process.join(_END_TIMEOUT_S)
            if process.is_alive():
                process.terminate()
                process.join(_END_TIMEOUT_S)


def _serve(connection: Connection, folder: Path) -> None:
    """Answer until the pipe is closed."""
    station = Station(folder)
    while True:
        try:
            asked = connection.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        if asked == _END:
            return
        method, args = asked
        connection.send(getattr(station, method)(*args))

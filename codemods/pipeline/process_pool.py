"""Who works on the files: this process, or several that each keep what they parsed until it is rewritten.

Every file is parsed once. One process is started before the tree is read: it imports LibCST in the meantime, and forks
once it is known how much there is to do, so that the import is paid for once. Where this process has LibCST
already, that is done when enough was found to be worth it.
Source: https://docs.python.org/3/library/multiprocessing.html (pipes, start methods), ``os.fork``.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codemods.outcome import FileOutcome, Survey
from codemods.plan.plan_index import Container, PlanIndex
from migrator.errors import MigratorError
from migrator.inventory.source_files import SourceFiles

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from codemods.pipeline.worker import PoolWorker

#: From this much source on, other processes are worth their start.
_WORTH_BYTES = 40_000
#: This much is handed out at once; less waits until all files are found, so that the largest can come first.
_AT_ONCE_BYTES = 1 << 20
_MOST = 8
_ANSWER_TIMEOUT_S = 600.0
_END_TIMEOUT_S = 5.0
_PARENT_POLL_S = 5.0
_END = "end"


class ProcessPool:
    """Takes files, surveys them, rewrites them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = SourceFiles(folder)
        self.most = min(_processors(), _MOST)
        self.size_bytes = 0
        self.waiting: list[tuple[Path, bytes | None]] = []
        self.pool_worker: PoolWorker | None = None
        self.pipes: list[_Worker] = []
        self.workers: list[_Worker] = []
        self.process: BaseProcess | None = None
        if self.most > 1 and "libcst" not in sys.modules and threading.active_count() == 1:
            self._start()  # to import it takes as long as everything that comes before the first file is found

    def add(self, file: Path, data: bytes | None) -> None:
        """Take a file; without its bytes it is read again, and listed if that fails too."""
        self.waiting.append((file, data))
        self.size_bytes += len(data or b"")
        if self.workers or self.size_bytes > _AT_ONCE_BYTES:
            self.begin()

    def begin(self) -> None:
        """Let the processes parse what was found; without them that waits for the first question."""
        if self.pool_worker is not None:
            return
        if self.process is None and self.most > 1 and self.size_bytes >= _WORTH_BYTES:
            self._start()
        if self.process is not None and self.waiting:
            self._hand_out()

    def converted(self, index: PlanIndex) -> frozenset[str]:
        """Return the actors whose definitions can be converted where they stand."""
        return frozenset(path for part in self._ask("converted", index) for path in part)

    def survey(self, index: PlanIndex) -> Survey:
        """Return what the files offer to others."""
        parts: list[Survey] = list(self._ask("survey", index))
        return Survey(
            exports={name: path for part in parts for name, path in part.exports.items()},
            renames={name: new for part in parts for name, new in part.renames.items()},
            names={path: held for part in parts for path, held in part.names.items()},
        )

    def containers(self, index: PlanIndex) -> dict[str, Container]:
        """Return the containers of tasks that the files offer to others, by dotted path."""
        return {path: container for part in self._ask("containers", index) for path, container in part.items()}

    def try_containers(self, index: PlanIndex) -> tuple[set[str], set[str]]:
        """Return which containers are read in another file, and which hold something that is not rewritten."""
        parts = list(self._ask("try_containers", index))
        return {origin for part in parts for origin in part[0]}, {origin for part in parts for origin in part[1]}

    def try_names(self, index: PlanIndex) -> tuple[set[str], set[str]]:
        """Return which constants name tasks in another file than their own, and which can't get the new name."""
        parts = list(self._ask("try_names", index))
        return {path for part in parts for path in part[0]}, {path for part in parts for path in part[1]}

    def rewrite(self, index: PlanIndex, only: tuple[Path, ...]) -> list[FileOutcome]:
        """Rewrite the files that lie in one of the places, all if none is given; list those that can't be parsed."""
        return [outcome for part in self._ask("rewrite", index, only) for outcome in part]

    def end(self) -> None:
        """End the processes."""
        for worker in self.pipes:
            worker.ask_to_end()
        if self.process is not None:
            if not self.workers:
                self.process.kill()  # it has nothing but what it imports
            self.process.join(_END_TIMEOUT_S)
            if self.process.is_alive():
                self.process.terminate()
                self.process.join(_END_TIMEOUT_S)

    def _start(self) -> None:
        import multiprocessing

        pipes = [multiprocessing.Pipe() for _ in range(self.most)]
        self.process = multiprocessing.Process(target=_serve, args=(pipes, self.folder, os.getpid()), daemon=True)
        self.process.start()
        for _, theirs in pipes:
            theirs.close()
        self.pipes = [_Worker(pipe[0]) for pipe in pipes]

    def _hand_out(self) -> None:
        """Give each file, the largest first, to the process with the least work."""
        if not self.workers:
            count = min(self.most, 1 + self.size_bytes // _WORTH_BYTES)
            self.pipes[0].send("divide", count)
            self.workers = self.pipes[:count]
        for file, data in sorted(self.waiting, key=lambda item: len(item[1] or b""), reverse=True):
            lightest = min(self.workers, key=lambda worker: worker.size_bytes)
            lightest.size_bytes += len(data or b"")
            lightest.send("add", file)
        self.waiting.clear()

    def _ask(self, method: str, *arguments: Any) -> Iterator[Any]:
        self.begin()
        if self.workers:
            for worker in self.workers:
                worker.send(method, *arguments)
            for worker in self.workers:
                yield worker.answer()
        elif self.pool_worker is not None or self.waiting:
            if self.pool_worker is None:
                from codemods.pipeline.worker import PoolWorker

                self.pool_worker = PoolWorker(self.folder)
            for file, data in self.waiting:
                self.pool_worker.add(file, data)
            self.waiting.clear()
            yield getattr(self.pool_worker, method)(*arguments)


class _Worker:
    """A pool worker in another process, seen from here."""

    def __init__(self, connection: Connection) -> None:
        self.size_bytes = 0
        self.connection = connection

    def send(self, method: str, *arguments: Any) -> None:
        try:
            self.connection.send((method, arguments))
        except OSError as error:
            raise MigratorError("rewrite", "a worker process ended; nothing was written") from error

    def answer(self) -> Any:
        try:
            if not self.connection.poll(_ANSWER_TIMEOUT_S):
                raise MigratorError("rewrite", f"a worker process did not answer within {_ANSWER_TIMEOUT_S:.0f} s")
            return self.connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise MigratorError("rewrite", "a worker process ended; nothing was written") from error

    def ask_to_end(self) -> None:
        with suppress(OSError):
            self.connection.send((_END, ()))  # a later process may hold a copy of this pipe: closing is not enough
        self.connection.close()


@contextmanager
def process_pool(folder: Path) -> Iterator[ProcessPool]:
    """Provide a process pool for the files below a folder; its processes end with the block.

    The garbage collector is off in the block: parse trees are many objects that all live until the end.
    """
    collecting = gc.isenabled()
    gc.disable()
    pool = ProcessPool(folder)
    try:
        yield pool
    finally:
        pool.end()
        if collecting:
            gc.enable()


def _processors() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _serve(pipes: list[tuple[Connection, Connection]], folder: Path, parent: int) -> None:
    """Fork into as many processes as are asked for; an interrupt is handled by the parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    connections = [theirs for _, theirs in pipes]
    for parents, _ in pipes:
        parents.close()  # so that the end of the parent is seen at once
    gc.disable()
    from codemods.syntax.fast_import import fast_import

    with fast_import():
        from codemods.syntax.fast_nodes import make_fast
    from codemods.pipeline.registry import rewrites
    from codemods.pipeline.worker import PoolWorker

    make_fast()
    rewrites()
    first = os.getpid()
    others = []
    for connection in connections[1 : _count(connections[0], parent)]:
        others.append(os.fork())
        if others[-1] == 0:
            for inherited in connections:
                if inherited is not connection:
                    inherited.close()
            _answer(connection, PoolWorker(folder), first)
            os._exit(0)
    for connection in connections[1:]:
        connection.close()
    if _answer(connections[0], PoolWorker(folder), parent):
        for other in others:
            os.waitpid(other, 0)  # they were asked to end too; if the parent is gone, they notice when we end
    os._exit(0)  # nothing is left to write, and taking the parse trees apart takes time


def _count(connection: Connection, parent: int) -> int:
    """Wait until the parent says how many processes are needed; end this one if none is."""
    with suppress(EOFError, OSError):
        while not connection.poll(_PARENT_POLL_S):
            if os.getppid() != parent:
                os._exit(0)
        method, arguments = connection.recv()
        if method == "divide":
            return int(arguments[0])
    os._exit(0)


def _answer(connection: Connection, pool_worker: PoolWorker, parent: int) -> bool:
    """Answer requests until asked to end (True), or until the process that waits for the answers is gone."""
    try:
        while True:
            while not connection.poll(_PARENT_POLL_S):
                if os.getppid() != parent:
                    return False
            method, arguments = connection.recv()
            if method == _END:
                return True
            answer = getattr(pool_worker, method)(*arguments)
            if method != "add":
                connection.send(answer)
    except (EOFError, OSError):
        return False
    except Exception:  # noqa: BLE001  # a forked process must end here, whatever it is; the parent notices
        import traceback

        traceback.print_exc()
        os._exit(1)

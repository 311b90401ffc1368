"""The files of one process: each is parsed once, kept, surveyed and rewritten."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from codemods.calls.in_place_actors import waiting
from codemods.calls.task_naming import adapted_namings, kept_names
from codemods.outcome import FileOutcome, Leftover, Survey
from codemods.pipeline.file import make_context, parse, rewrite_source, survey
from codemods.pipeline.registry import rewrites
from codemods.pipeline.rewrite_file import rewrite_file
from codemods.plan.plan_index import Container, PlanIndex
from codemods.syntax.source import SourceFile, UnparsableError
from codemods.uses.containers import offered_containers
from migrator.inventory.parse_cost import too_costly
from migrator.inventory.source_files import module_name


class PoolWorker:
    """Parses files and keeps the trees for the survey and the rewrite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[Path, SourceFile] = {}
        self.failed: list[FileOutcome] = []

    def add(self, file: Path, data: bytes | None = None) -> None:
        """Parse a file and keep it; read it first if its bytes are not given."""
        content = b""
        try:
            content = file.read_bytes() if data is None else data
            if why := too_costly(content):
                left = Leftover(code="TOO-LARGE", line=1, found=why)
                self.failed.append(FileOutcome(file=file, shown=self._shown(file), leftovers=(left,)))
                return
            self.sources[file] = parse(file, content)
        except OSError as error:
            self._fail(file, content, f"can't be read: {error.strerror}")
        except UnparsableError as error:
            self._fail(file, content, str(error))

    def converted(self, index: PlanIndex) -> frozenset[str]:
        """Return the actors of the kept files whose definitions can be converted where they stand."""
        modules = waiting(index)
        defining = [rewrite.whole_file for rewrite in rewrites() if rewrite.defines and rewrite.whole_file]
        found: set[str] = set()
        for file, source in self.sources.items():
            if module_name(index.root, file) not in modules:
                continue
            with suppress(UnparsableError):  # it is listed when it is rewritten; its actors stay
                context = make_context(source, index, self._shown(file))
                for convert in defining:
                    convert(context)
                found |= context.result.converted
        return frozenset(found)

    def survey(self, index: PlanIndex) -> Survey:
        """Return what other files must know about the kept ones."""
        exports: dict[str, str] = {}
        renames: dict[str, str] = {}
        names: dict[str, tuple[str, ...]] = {}
        for file, source in self.sources.items():
            try:
                found = survey(source, index, self._shown(file))
            except UnparsableError:
                continue  # listed when it is rewritten
            exports.update(found.exports)
            renames.update(found.renames)
            names.update(found.names)
        return Survey(exports=exports, renames=renames, names=names)

    def containers(self, index: PlanIndex) -> dict[str, Container]:
        """Return the containers of tasks that the kept files offer to others."""
        found: dict[str, Container] = {}
        for file, source in self.sources.items():
            with suppress(UnparsableError):  # listed when it is rewritten
                found.update(offered_containers(make_context(source, index, self._shown(file))))
        return found

    def try_containers(self, index: PlanIndex) -> tuple[set[str], set[str]]:
        """Return which containers are read in another file, and which hold something that is not rewritten."""
        read: set[str] = set()
        kept: set[str] = set()
        words = {path.rpartition(".")[2].encode() for path in index.containers}
        for file, source in self.sources.items():
            if not any(word in source.text for word in words):
                continue
            try:
                context = make_context(source, index, self._shown(file))
                rewrite_file(context)
            except UnparsableError:
                continue
            except Exception:  # noqa: BLE001  # listed when it is rewritten; until then its containers stay
                kept |= {container.origin for container in index.containers.values()}
                continue
            read |= context.result.containers_read
            kept |= context.result.containers_lost.keys() | {
                use.container for use in context.uses if use.container and not use.rewritten
            }
        return read, kept

    def try_names(self, index: PlanIndex) -> tuple[set[str], set[str]]:
        """Return which constants name tasks in another file than their own, and which can't get the new name."""
        used: set[str] = set()
        kept: set[str] = set()
        words = {path.rpartition(".")[2].encode() for path in index.name_constants}
        for file, source in self.sources.items():
            if any(word in source.text for word in words):
                with suppress(UnparsableError):  # listed when it is rewritten
                    context = make_context(source, index, self._shown(file))
                    namings = adapted_namings(context)
                    kept |= {path for path in kept_names(context, namings) if isinstance(path, str)}
                    read = {path for naming in namings for path in naming.constants}
                    used |= {path for path in read if path.rpartition(".")[0] != context.values.where.module}
        return used, kept

    def rewrite(self, index: PlanIndex, only: tuple[Path, ...]) -> list[FileOutcome]:
        """Rewrite the kept files that lie in one of the places; all if none is given."""
        chosen = [f for f in self.sources if not only or any(f.is_relative_to(place) for place in only)]
        return [*self.failed, *(rewrite_source(self.sources[file], index, self._shown(file)) for file in chosen)]

    def _fail(self, file: Path, data: bytes, why: str) -> None:
        self.failed.append(FileOutcome(file=file, shown=self._shown(file), before=data, after=data, unparsable=why))

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.folder))

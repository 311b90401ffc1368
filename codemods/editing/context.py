"""One file while it is rewritten: its parse, the plan, the edits so far and what was left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from codemods.editing.edits import Edits, OverlapError
from codemods.outcome import Leftover
from codemods.plan.plan_index import PlanIndex, Target
from codemods.plan.reason_codes import DRAMATIQ_CODES
from codemods.resolve.name_resolution import Values
from codemods.syntax.scopes import Binding, Tree
from codemods.syntax.source import SourceFile


class LeaveError(Exception):
    """A place that is left alone, with its reason code."""

    def __init__(self, code: str, node: cst.CSTNode | None = None, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.node = node
        self.detail = detail


@dataclass(slots=True)
class Use:
    """One place that reads a legacy task."""

    #: The expression that is the task.
    node: cst.BaseExpression
    targets: tuple[Target, ...]
    #: ``node.attr`` around it, if any.
    attribute: cst.Attribute | None = None
    #: The call of the attribute, or of the node itself.
    call: cst.Call | None = None
    #: False where the task came through a variable.
    direct: bool = True
    #: The composition that it is part of, if any: all of it is rewritten or nothing.
    whole: cst.CSTNode | None = None
    #: The container shared by several files that it came out of, or stands in; see :mod:`codemods.uses.container_uses`.
    container: str = ""
    #: True if the statement around it is gone.
    removed: bool = False
    #: None until decided.
    rewritten: bool | None = None

    @property
    def target(self) -> Target:
        """The first target; handlers that need more look at :attr:`targets`."""
        return self.targets[0]


@dataclass(slots=True)
class Uses:
    """The uses of legacy tasks in one file, in the order they were found, and found again by their nodes."""

    _all: list[Use] = field(default_factory=list)
    _by_node: dict[cst.CSTNode, Use] = field(default_factory=dict)
    _by_attribute: dict[cst.CSTNode, Use] = field(default_factory=dict)
    _by_call: dict[cst.CSTNode, Use] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Use]:
        return iter(self._all)

    def add(self, use: Use) -> None:
        """Add a use."""
        self._all.append(use)
        self._by_node.setdefault(use.node, use)
        if use.attribute is not None:
            self._by_attribute.setdefault(use.attribute, use)
        if use.call is not None:
            self._by_call.setdefault(use.call, use)

    def of_node(self, node: cst.CSTNode) -> Use | None:
        """Return the use whose task an expression is."""
        return self._by_node.get(node)

    def of_attribute(self, node: cst.CSTNode) -> Use | None:
        """Return the use with this ``task.attribute``."""
        return self._by_attribute.get(node)

    def of_call(self, node: cst.CSTNode) -> Use | None:
        """Return the use with this call."""
        return self._by_call.get(node)


@dataclass(slots=True)
class TaskSupport:
    """What the converted actors of a file share: features still to be written, their names, and where they go."""

    features: set[str] = field(default_factory=set)
    base: str = ""
    async_wrapper: str = ""
    object_wrapper: str = ""
    result_last: str = ""
    #: -1 for nowhere.
    at: int = -1


@dataclass(slots=True)
class FileResult:
    """What the rewrites of one file found and give back."""

    edits: Edits = field(default_factory=Edits)
    #: In the order in which they were listed; each once.
    leftovers: dict[Leftover, None] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)
    imports: list[LegacyImport] = field(default_factory=list)
    #: Shared containers of other files that this one reads, and what it does with any that can't be followed.
    containers_read: set[str] = field(default_factory=set)
    containers_lost: dict[str, list[cst.CSTNode]] = field(default_factory=dict)
    #: Imports that the file needs: module, name and local name.
    wanted_imports: dict[tuple[str, str], str] = field(default_factory=dict)
    #: Functions of Dramatiq that another name replaces, as expressions.
    replaced: list[cst.BaseExpression] = field(default_factory=list)
    #: Dotted paths of the actors whose definition in this file was converted.
    converted: set[str] = field(default_factory=set)
    #: Dotted paths of the tasks of which something is patched here.
    patched: set[str] = field(default_factory=set)
    support: TaskSupport = field(default_factory=TaskSupport)
    #: The rewrite that runs, for its edits.
    rewrite_name: str = ""

    def mark(self) -> tuple[int, int, int, int]:
        """Return a mark for :meth:`rollback`."""
        return self.edits.mark(), len(self.wanted_imports), len(self.leftovers), len(self.replaced)

    def rollback(self, mark: tuple[int, int, int, int]) -> None:
        """Undo the edits, imports and leftovers that were made since a mark."""
        self.edits.rollback(mark[0])
        _shorten(self.wanted_imports, mark[1])
        _shorten(self.leftovers, mark[2])
        del self.replaced[mark[3] :]


@dataclass(frozen=True, slots=True)
class FileContext:
    """What every rewrite is given: the facts about a file, which don't change, and the result that it adds to."""

    source: SourceFile
    index: PlanIndex
    values: Values
    #: Path as shown in reports, relative to the plan's folder.
    shown: str
    result: FileResult = field(default_factory=FileResult)

    @property
    def uses(self) -> Uses:
        """The uses of legacy tasks in the file."""
        return self.result.uses

    @property
    def tree(self) -> Tree:
        """Scopes and bindings of the file."""
        return self.source.tree

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around ``node``."""
        return self.tree.parents.get(node)

    def replace(self, node: cst.CSTNode, text: str) -> None:
        """Replace a node's text."""
        self.result.edits.replace(self.source.span(node), text, self.result.rewrite_name)

    def replace_span(self, start: int, end: int, text: str) -> None:
        """Replace a span of the file's text."""
        self.result.edits.replace((start, end), text, self.result.rewrite_name)

    def insert_before(self, node: cst.CSTNode, text: str) -> None:
        """Insert text where a node starts."""
        start, _ = self.source.span(node)
        self.replace_span(start, start, text)

    def insert_after(self, node: cst.CSTNode, text: str) -> None:
        """Insert text where a node ends."""
        _, end = self.source.span(node)
        self.replace_span(end, end, text)

    def render(self, node: cst.CSTNode) -> str:
        """Return a node's text with the edits inside it applied and taken."""
        return self.result.edits.take(self.source.span(node), self.source.text)

    def local_import(self, module: str, name: str, instead: cst.BaseExpression | None = None) -> str:
        """Ask for ``from module import name`` and return the name to write.

        Args:
            module: Where it comes from.
            name: What is imported.
            instead: The expression of Dramatiq's whose place it takes.
        """
        if instead is not None:
            self.result.replaced.append(instead)
        if (module, name) in self.result.wanted_imports:
            return self.result.wanted_imports[module, name]
        for known, group in self.tree.module.bindings.items():
            if any(b.statement is not None and self.values.imported(b) == f"{module}.{name}" for b in group):
                return known
        bound = self.tree.module.bindings.get(name, ())
        theirs = [b for b in bound if b.statement is None or not self.values.imported(b).startswith("dramatiq.")]
        local = f"{module.partition('.')[0]}_{name}" if theirs else name
        self.result.wanted_imports[module, name] = local
        return local

    def leave(self, node: cst.CSTNode, code: str, detail: str = "") -> None:
        """List a place, unless it is a use of Dramatiq that only tasks need which stay."""
        if code in DRAMATIQ_CODES:
            general = code in {"DRAMATIQ-USE", "DRAMATIQ-PACKAGE"}
            if not self.index.is_about(self.values.where.module, dramatiq=general):
                return
        line = self.source.line(node)
        found = self.source.line_text(line).strip()
        leftover = Leftover(code=code, line=line, found=found, detail=detail, anchor=self._anchor(node))
        self.result.leftovers[leftover] = None

    def _anchor(self, node: cst.CSTNode) -> int:
        """Return where the logical line of a node's statement starts; -1 for the module."""
        here: cst.CSTNode | None = node
        while here is not None:
            parent = self.tree.parents.get(here)
            if isinstance(parent, (cst.IndentedBlock, cst.Module)):
                start = self.source.span(here)[0]
                return self.source.text.rfind(b"\n", 0, start) + 1
            here = parent
        return -1

    @contextmanager
    def attempt(self, node: cst.CSTNode) -> Iterator[Attempt]:
        """Keep the edits made inside only if nothing raises :class:`LeaveError`; then list the place."""
        mark = self.result.mark()
        attempt = Attempt()
        try:
            yield attempt
        except (LeaveError, OverlapError) as error:
            self.result.rollback(mark)
            attempt.failed = True
            if isinstance(error, LeaveError):
                self.leave(error.node or node, error.code, error.detail)
            else:
                self.leave(node, "OVERLAP", str(error))


def _shorten(items: dict[Any, Any], length: int) -> None:
    """Remove what was added to a dict since it had a length."""
    while len(items) > length:
        items.popitem()


@dataclass(slots=True)
class Attempt:
    """Whether the edits of an attempt were kept."""

    failed: bool = False


@dataclass(slots=True, eq=False)
class LegacyImport:
    """One name that an import binds and that has to do with a legacy module."""

    binding: Binding
    alias: cst.ImportAlias
    statement: cst.Import | cst.ImportFrom
    #: What the alias names: a task, a legacy module, or a package above one.
    dotted: str
    #: Uses of tasks through this name.
    uses: list[Use] = field(default_factory=list)
    #: Uses of anything else through it.
    others: list[cst.BaseExpression] = field(default_factory=list)

    def target(self, index: PlanIndex) -> Target | None:
        """Return the task that it names, or None if it names a module."""
        return index.target(self.dotted)

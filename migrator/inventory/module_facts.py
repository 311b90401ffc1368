"""What one source file binds: imports, aliases and constants, read with :mod:`ast`.

Nothing is imported. Names are followed through the files of the project (``from core import app as celery_app``).
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from migrator.inventory.source_files import absolute, module_name

Function = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_KEPT = (*_DEFINITIONS, ast.Assign, ast.AnnAssign, ast.Return)


class Statement(NamedTuple):
    """A definition, an assignment or a return, and where it stands."""

    node: ast.stmt
    #: Qualified name of the class around it; empty if there is none.
    owner: str
    #: Qualified name of the function around it; empty at the top of a module or class.
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFacts:
    """One parsed file."""

    #: Dotted name.
    name: str
    file: Path
    tree: ast.Module
    #: Every node of the tree, in the order of :func:`ast.walk`.
    nodes: tuple[ast.AST, ...] = field(default=(), repr=False)
    #: Local name to the dotted name that it stands for.
    bindings: dict[str, str] = field(default_factory=dict)
    #: Modules from which everything was imported.
    stars: list[str] = field(default_factory=list)
    #: Module-level name to the expression that it was given.
    values: dict[str, ast.expr] = field(default_factory=dict)
    #: Functions and classes at the top of the module.
    defined: dict[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = field(default_factory=dict)
    #: Returns the string behind a name that this file alone doesn't tell.
    follow: Callable[[ast.expr], str | None] | None = field(default=None, repr=False, compare=False)

    def dotted(self, node: ast.expr | None) -> str:
        """Return the dotted name of an expression, its root resolved by the imports; empty if it has none."""
        if isinstance(node, ast.Name):
            return self.bindings.get(node.id, f"{self.name}.{node.id}" if self.name else node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def text(self, node: ast.expr | None) -> str | None:
        """Return a string that is written out, or a module constant that holds one; None if it is computed."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name) and node.id in self.values:
            value = self.values[node.id]
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
        return self.follow(node) if self.follow and isinstance(node, (ast.Name, ast.Attribute)) else None


def read_module(root: Path, file: Path, source: bytes) -> ModuleFacts:
    """Parse a file and collect what it binds.

    Raises:
        SyntaxError: The file can't be parsed by this Python.
        ValueError: The file holds null bytes or is in an unknown encoding.
    """
    tree = ast.parse(source, filename=str(file))
    facts = ModuleFacts(name=module_name(root, file), file=file, tree=tree, nodes=_nodes(tree))
    is_package = file.stem == "__init__"
    for node in facts.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                facts.bindings[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            base = absolute(facts.name, is_package=is_package, level=node.level, target=node.module or "")
            for alias in node.names:
                if alias.name == "*":
                    facts.stars.append(base)
                else:
                    facts.bindings[alias.asname or alias.name] = f"{base}.{alias.name}" if base else alias.name
    for statement in tree.body:
        if isinstance(statement, _DEFINITIONS):
            facts.defined.setdefault(statement.name, statement)
        _bind(facts, statement)
    return facts


def statements(facts: ModuleFacts) -> tuple[Statement, ...]:
    """Return the definitions, assignments and returns of a file, those inside of others too."""
    found: list[Statement] = []
    waiting: list[tuple[list[ast.stmt], str, str]] = [(facts.tree.body, "", "")]
    for body, owner, function in waiting:
        for node in body:
            if isinstance(node, _KEPT):
                found.append(Statement(node, owner, function))
            if isinstance(node, ast.ClassDef):
                waiting.append((node.body, f"{owner}.{node.name}" if owner else node.name, ""))
            elif isinstance(node, Function):
                inside = function or owner
                waiting.append((node.body, owner, f"{inside}.{node.name}" if inside else node.name))
            else:
                parts = [node, *getattr(node, "handlers", ()), *getattr(node, "cases", ())]
                blocks = (getattr(part, name, ()) for part in parts for name in ("body", "orelse", "finalbody"))
                waiting += [(block, owner, function) for block in blocks if isinstance(block, list)]
    return tuple(found)


def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """Return what :func:`ast.walk` yields, without the marks of loading and storing, in a third of the time."""
    found: list[ast.AST] = [tree]
    for node in found:
        for name in node._fields:
            value = getattr(node, name, None)
            if value.__class__ is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                found.append(value)
    return tuple(found)


def _bind(facts: ModuleFacts, statement: ast.stmt) -> None:
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return
    for target in targets:
        for name, one in assigned_names(target, value):
            facts.values[name] = one
            aliased = facts.dotted(one)
            if aliased and aliased != name:
                facts.bindings[name] = aliased


def assigned_names(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield each name that an assignment gives, with its expression; ``A, B = 1, 2`` gives two."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)) and isinstance(value, (ast.Tuple, ast.List)):
        starred = any(isinstance(item, ast.Starred) for item in (*target.elts, *value.elts))
        if not starred and len(target.elts) == len(value.elts):
            for one, other in zip(target.elts, value.elts, strict=True):
                yield from assigned_names(one, other)


def resolve(modules: Mapping[str, ModuleFacts], dotted: str) -> str:
    """Follow re-exports between the project's own files until the place where a name is defined."""
    seen: set[str] = set()
    while dotted not in seen:
        seen.add(dotted)
        head, _, tail = dotted.rpartition(".")
        owner = modules.get(head)
        if owner is None:
            shorter = resolve(modules, head) if head else head
            if shorter == head:
                return dotted
            dotted = f"{shorter}.{tail}"
        elif tail in owner.bindings and owner.bindings[tail] != dotted:
            dotted = owner.bindings[tail]
        elif tail not in owner.values and tail not in owner.defined:
            dotted = next(
                (f"{star}.{tail}" for star in owner.stars if star in modules and _offers(modules[star], tail)), dotted
            )
    return dotted


def _offers(facts: ModuleFacts, name: str) -> bool:
    return name in facts.bindings or name in facts.values or name in facts.defined


def decode_error(error: Exception) -> str:
    """Return what a parse failure says, short and with its line."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, tokenize.TokenError):
        return str(error.args[0])
    return str(error)

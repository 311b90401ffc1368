"""Tasks that a call makes of something: a function of this file or another, an object that can be called.

``work = dramatiq.actor(jobs.work)``, ``work = dramatiq.actor(Work(), max_retries=0)``. Dramatiq asks what it is given
for its ``__name__``; a class says that in its body. Files that name no library are parsed when such a call leads there.
Source: ``dramatiq/actor.py`` ``actor``.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from migrator.inventory.module_facts import Function, ModuleFacts, read_module, resolve
from migrator.inventory.source_files import module_file

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
#: Returns the file of a dotted module name, parsed; None if the project has none.
Load = Callable[[str], ModuleFacts | None]
_DEPTH = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """What a call makes a task of."""

    #: Its ``__name__``; empty if that is computed.
    name: str
    #: Dotted name of the module that defines it.
    module: str
    #: The function that runs; None if its parameters can't be read.
    function: Function | None
    #: It is an object: the first parameter is the object itself.
    method: bool = False


def loading(root: Path, modules: Mapping[str, ModuleFacts]) -> Load:
    """Return what gives a module below ``root`` by its dotted name, and parses it if it is not among ``modules``."""
    later: dict[str, ModuleFacts | None] = dict(modules)

    def load(name: str) -> ModuleFacts | None:
        if name and name not in later:
            file = module_file(root, name)
            try:
                later[name] = read_module(root, file, file.read_bytes()) if file else None
            except (SyntaxError, ValueError, RecursionError, OSError):
                later[name] = None
        return later.get(name)

    return load


def callee(facts: ModuleFacts, node: ast.expr, load: Load) -> Callee | None:
    """Return what an expression stands for, if it is a function or a new object of a class of the project."""
    made = isinstance(node, ast.Call)
    found = _definition(facts, node.func if isinstance(node, ast.Call) else node, load)
    if found is None:
        return _method(facts, node, load) if isinstance(node, ast.Attribute) else None
    owner, statement = found
    if isinstance(statement, ast.ClassDef):
        if not made:
            return None
        name = attribute(owner, statement, "__name__", load)
        function = attribute(owner, statement, "__call__", load)
        return Callee(
            name=(owner.text(name) or "") if isinstance(name, ast.expr) else "",
            module=owner.name,
            function=function if isinstance(function, Function) else None,
            method=True,
        )
    return None if made else Callee(name=statement.name, module=owner.name, function=statement)


def project_class(facts: ModuleFacts, node: ast.expr, load: Load) -> tuple[ModuleFacts, ast.ClassDef] | None:
    """Return the class of the project that an expression stands for, with the module that defines it."""
    found = _definition(facts, node, load)
    return (found[0], found[1]) if found is not None and isinstance(found[1], ast.ClassDef) else None


def _method(facts: ModuleFacts, node: ast.Attribute, load: Load) -> Callee | None:
    """Return what ``Class.method`` stands for."""
    found = project_class(facts, node.value, load)
    function = attribute(*found, node.attr, load) if found is not None else None
    if found is None or not isinstance(function, Function):
        return None
    return Callee(name=function.name, module=found[0].name, function=function)


def _definition(facts: ModuleFacts, node: ast.expr, load: Load) -> tuple[ModuleFacts, Definition] | None:
    dotted = facts.dotted(node)
    modules = {facts.name: facts}
    for _ in range(_DEPTH):
        head, _, name = dotted.rpartition(".")
        owner = modules.get(head) or load(head)
        if owner is None:
            return None
        if name in owner.defined:
            return owner, owner.defined[name]
        modules[head] = owner
        further = resolve(modules, dotted)
        if further == dotted:
            return None
        dotted = further
    return None


def attribute(
    owner: ModuleFacts, node: ast.ClassDef, name: str, load: Load, depth: int = 0
) -> ast.expr | Function | None:
    """Return what a class or the first of its bases that has it says about an attribute."""
    for statement in node.body:
        if isinstance(statement, Function) and statement.name == name:
            return statement
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and any(
            isinstance(target, ast.Name) and target.id == name for target in targets
        ):
            return statement.value
    for base in node.bases if depth < _DEPTH else []:
        found = _definition(owner, base, load)
        if found is not None and isinstance(found[1], ast.ClassDef):
            value = attribute(found[0], found[1], name, load, depth + 1)
            if value is not None:
                return value
    return None

"""Every place of a file that reads a legacy task: directly by an import, or through a variable that holds one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import libcst as cst

from codemods.editing.context import FileContext, LegacyImport, Use
from codemods.plan.plan_index import PlanIndex, Target
from codemods.resolve.name_resolution import text_of
from codemods.resolve.shared_items import UNKNOWN
from codemods.syntax.scopes import Binding, BindingKind


def legacy_imports(context: FileContext) -> list[LegacyImport]:
    """Return the imports that bind a task, a legacy module or a package above one."""
    return imports_of(context, lambda dotted: concerns(context.index, dotted))


def imports_of(context: FileContext, wanted: Callable[[str], bool]) -> list[LegacyImport]:
    """Return the imports that bind a wanted dotted path."""
    found = []
    for statement in context.tree.imports:
        scope = context.tree.scopes[statement]
        if isinstance(statement, cst.ImportFrom) and isinstance(statement.names, cst.ImportStar):
            continue
        for alias in statement.names:  # type: ignore[union-attr]
            binding = _binding_of(scope.outer, scope.bindings, alias)
            if binding is None:
                continue
            dotted = alias.evaluated_name if isinstance(statement, cst.Import) else context.values.imported(binding)
            if wanted(dotted):
                found.append(LegacyImport(binding, alias, statement, dotted))
    return found


def _binding_of(outer: dict, bindings: dict, alias: cst.ImportAlias) -> Binding | None:  # type: ignore[type-arg]
    name = alias.evaluated_alias or alias.evaluated_name.split(".")[0]
    places = [bindings.get(name, [])] + ([outer[name].bindings.get(name, [])] if name in outer else [])
    return next((b for place in places for b in place if b.node is alias), None)


def concerns(index: PlanIndex, dotted: str) -> bool:
    """Tell whether a dotted path is a task, a name of a legacy module, or a module or package that leads to one."""
    resolved = index.resolve(dotted)
    if resolved in index.targets or resolved in index.modules or resolved in index.applications:
        return True
    head = resolved.rpartition(".")[0]
    if head in index.modules:
        return True
    prefix = resolved + "."
    return any(m.startswith(prefix) for m in index.modules) or any(e.startswith(prefix) for e in index.exports)


def collect_uses(context: FileContext, imports: list[LegacyImport]) -> None:
    """Fill the context's uses and those of every legacy import."""
    by_binding = {item.binding: item for item in imports}
    own = context.values.own
    names = {item.binding.name for item in imports} | set(context.values.stars) | own
    seen: set[cst.CSTNode] = set()
    for name in context.tree.loads:
        if name.value not in names:
            continue
        owners = [by_binding[b] for b in context.values.bindings(name) if b in by_binding]
        if not owners and name.value not in context.values.stars and not (name.value in own and _own(context, name)):
            continue
        use, top = _climb(context, name)
        if use is not None:
            seen.add(use.node)
            context.uses.add(use)
        for owner in owners:
            if use is not None and _through(context, owner, use):
                owner.uses.append(use)
            elif use is None and _matches(context, owner, top):
                owner.others.append(top)
    for use in _derived(context, seen):
        context.uses.add(use)


def own_names(index: PlanIndex, module: str) -> frozenset[str]:
    """Return the names of the legacy tasks that a module itself defines, those that stay included."""
    paths = (*index.targets, *index.stays)
    return frozenset(path.rpartition(".")[2] for path in paths if path.rpartition(".")[0] == module)


def _own(context: FileContext, name: cst.Name) -> bool:
    return any(b.scope.parent is None for b in context.values.bindings(name))


def _through(context: FileContext, owner: LegacyImport, use: Use) -> bool:
    """``import a.b`` and ``import a.c`` both bind ``a``: a use belongs to the one whose module it goes through."""
    if not isinstance(owner.statement, cst.Import) or owner.alias.asname:
        return True
    return any(path == owner.dotted or path.startswith(owner.dotted + ".") for path in context.values.dotted(use.node))


def _matches(context: FileContext, owner: LegacyImport, top: cst.BaseExpression) -> bool:
    if not isinstance(owner.statement, cst.Import) or owner.alias.asname:
        return True
    path = context.values.only(top)
    return path == owner.dotted or path.startswith(owner.dotted + ".")


def _climb(context: FileContext, name: cst.Name) -> tuple[Use | None, cst.BaseExpression]:
    """Go up from a name through its attributes until the path is a task."""
    node: cst.BaseExpression = name
    while True:
        paths = context.values.dotted(node)
        targets = _targets(context.index, paths)
        if targets:
            return make_use(context, node, targets, direct=True), node
        parent = context.parent(node)
        if isinstance(parent, cst.Attribute) and parent.value is node:
            node = parent
        elif isinstance(parent, cst.Arg) and (call := _literal_getattr(context, parent)):
            node = call
        else:
            return None, node


def _literal_getattr(context: FileContext, arg: cst.Arg) -> cst.Call | None:
    """Return the call if ``arg`` is the object of ``getattr(object, "name")``, with or without a default."""
    call = context.parent(arg)
    if not isinstance(call, cst.Call) or len(call.args) not in {2, 3} or call.args[0] is not arg:
        return None
    named = text_of(call.args[1].value) is not None
    return call if named and context.values.only(call.func) == "builtins.getattr" else None


def _targets(index: PlanIndex, paths: frozenset[str]) -> tuple[Target, ...]:
    found = [index.target(path) for path in sorted(paths) if path != UNKNOWN]
    return tuple(dict.fromkeys(target for target in found if target is not None))


def _derived(context: FileContext, seen: set[cst.CSTNode]) -> Iterator[Use]:
    """Yield the variables, items and attributes that hold a task, where they are called or an attribute is read."""
    nodes: list[cst.BaseExpression] = [a.value for a in context.tree.attributes]
    nodes += [call.func for call in context.tree.calls]
    done: set[cst.CSTNode] = set(seen)
    for node in nodes:
        if node in done or not isinstance(node, (cst.Name, cst.Attribute, cst.Subscript, cst.Call, cst.IfExp)):
            continue
        done.add(node)
        if isinstance(node, cst.Name) and not any(
            b.kind in {BindingKind.ASSIGN, BindingKind.ITEM, BindingKind.OTHER} for b in context.values.bindings(node)
        ):
            continue
        paths = context.values.dotted(node)
        targets = _targets(context.index, paths)
        if targets:
            use = make_use(context, node, targets, direct=False)
            if use.attribute is not None or use.call is not None:
                yield use


def make_use(context: FileContext, node: cst.BaseExpression, targets: tuple[Target, ...], *, direct: bool) -> Use:
    """Return the use with the attribute and call around it."""
    use = Use(node=node, targets=targets, direct=direct)
    parent = context.parent(node)
    if isinstance(parent, cst.Attribute) and parent.value is node:
        use.attribute = parent
        above = context.parent(parent)
        if isinstance(above, cst.Call) and above.func is parent:
            use.call = above
    elif isinstance(parent, cst.Call) and parent.func is node:
        use.call = parent
    return use


def is_mixed(context: FileContext, use: Use) -> bool:
    """Tell whether the expression may also be something that is no legacy task."""
    paths = context.values.dotted(use.node)
    return UNKNOWN in paths or any(context.index.target(path) is None for path in paths)

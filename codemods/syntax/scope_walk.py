"""The walk that fills :class:`codemods.syntax.scopes.Tree`: one method a construct that binds or opens a scope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import libcst as cst

from codemods.syntax.scopes import COMPREHENSIONS, FIELDS, NO_CHILD, Binding, BindingKind, Scope, Tree

Value = cst.BaseExpression | None


class Walk:
    """One walk over one file."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.annotation = False
        self.handlers: dict[Any, Callable[..., None]] = {
            cst.Name: self._name,
            cst.FunctionDef: self._function,
            cst.Lambda: self._lambda,
            cst.ClassDef: self._class,
            cst.Import: self._import,
            cst.ImportFrom: self._import_from,
            cst.Assign: self._assign,
            cst.AnnAssign: self._annotated,
            cst.AugAssign: self._augmented,
            cst.NamedExpr: self._walrus,
            cst.For: self._for,
            cst.WithItem: self._with_item,
            cst.ExceptHandler: self._except,
            cst.ExceptStarHandler: self._except,
            cst.Global: self._global,
            cst.Nonlocal: self._nonlocal,
            cst.MatchAs: self._capture,
            cst.MatchStar: self._capture,
            cst.MatchMapping: self._capture,
            cst.Annotation: self._annotation,
            cst.SimpleString: self._string,
            cst.FormattedString: self._string,
            cst.Call: self._listed,
            cst.Attribute: self._listed,
            cst.TypeAlias: self._type_alias,
        }
        self.handlers.update(dict.fromkeys(COMPREHENSIONS, self._comprehension))

    def visit(self, node: cst.CSTNode, scope: Scope) -> None:
        """Visit one node, whose parent is already recorded."""
        handler = self.handlers.get(type(node))
        if handler:
            handler(node, scope)
        else:
            self.visit_children(node, scope)

    def visit_children(self, node: cst.CSTNode, scope: Scope, skip: Sequence[str] = ()) -> None:
        """Visit the children in source order, except labels and the fields in ``skip``."""
        parents, handlers = self.tree.parents, self.handlers
        for name, label in FIELDS[node.__class__]:
            if name in skip:
                continue
            value = getattr(node, name)
            for child in value if value.__class__ in (list, tuple) else (value,):
                if NO_CHILD[child.__class__]:
                    continue
                parents[child] = node
                if label:
                    self._label(child)
                elif handler := handlers.get(child.__class__):
                    handler(child, scope)
                else:
                    self.visit_children(child, scope)

    def _child(self, parent: cst.CSTNode, node: cst.CSTNode, scope: Scope) -> None:
        self.tree.parents[node] = parent
        self.visit(node, scope)

    def _label(self, node: cst.CSTNode) -> None:
        """Record parents below a dotted name that is no reference."""
        for name, _ in FIELDS[node.__class__]:
            value = getattr(node, name)
            if not NO_CHILD[value.__class__]:
                self.tree.parents[value] = node
                self._label(value)

    def bind(self, scope: Scope, binding: Binding) -> None:
        """Record a binding where ``global`` and ``nonlocal`` put it."""
        home = scope.outer.get(binding.name, scope)
        binding.scope = home
        home.bindings.setdefault(binding.name, []).append(binding)

    def _target(self, target: cst.CSTNode, scope: Scope, kind: BindingKind, value: Value) -> None:
        if isinstance(target, cst.Name):
            self.bind(scope, Binding(target.value, kind, target, scope, value))
            self.tree.scopes[target] = scope
        elif isinstance(target, (cst.Tuple, cst.List)):
            pairs = target.elements
            values: Sequence[cst.BaseElement] = ()
            if kind is BindingKind.ASSIGN and isinstance(value, (cst.Tuple, cst.List)):
                values = value.elements
            starred = any(isinstance(element, cst.StarredElement) for element in (*pairs, *values))
            plain = len(values) == len(pairs) and not starred
            for index, element in enumerate(pairs):
                self.tree.parents[element] = target
                self.tree.parents[element.value] = element
                if plain:
                    self._target(element.value, scope, BindingKind.ASSIGN, values[index].value)
                else:
                    self._target(element.value, scope, BindingKind.OTHER, value)
        else:
            self.visit(target, scope)

    def _name(self, node: cst.Name, scope: Scope) -> None:
        scope.references.setdefault(node.value, []).append(node)
        self.tree.loads.append(node)
        self.tree.scopes[node] = scope

    def _function(self, node: cst.FunctionDef, scope: Scope) -> None:
        self.tree.definitions.append(node)
        self.tree.scopes[node] = scope
        self.tree.parents[node.name] = node
        self.bind(scope, Binding(node.name.value, BindingKind.DEFINITION, node, scope))
        for decorator in node.decorators:
            self._child(node, decorator, scope)
        scope = self._typed(node, node.type_parameters, scope)
        inner = Scope(node, scope)
        self._parameters(node, node.params, scope, inner)
        if node.returns:
            self._child(node, node.returns, scope)
        self._child(node, node.body, inner)

    def _lambda(self, node: cst.Lambda, scope: Scope) -> None:
        inner = Scope(node, scope)
        self._parameters(node, node.params, scope, inner)
        self._child(node, node.body, inner)

    def _parameters(self, owner: cst.CSTNode, parameters: cst.Parameters, scope: Scope, inner: Scope) -> None:
        self.tree.parents[parameters] = owner
        every: list[cst.CSTNode] = [*parameters.posonly_params, *parameters.params, *parameters.kwonly_params]
        every += [p for p in (parameters.star_arg, parameters.star_kwarg) if isinstance(p, cst.Param)]
        for param in every:
            assert isinstance(param, cst.Param)
            self.tree.parents[param] = parameters
            self.tree.parents[param.name] = param
            self.bind(inner, Binding(param.name.value, BindingKind.PARAMETER, param, inner, param.default))
            if param.annotation:
                self._child(param, param.annotation, scope)
            if param.default:
                self._child(param, param.default, scope)

    def _typed(self, owner: cst.CSTNode, node: cst.TypeParameters | None, scope: Scope) -> Scope:
        """Return the scope of ``[T]``, in which annotations and base classes are read; ``scope`` itself without one."""
        if node is None:
            return scope
        inner = Scope(node, scope)
        self.tree.parents[node] = owner
        for item in node.params:
            self.bind(inner, Binding(item.param.name.value, BindingKind.OTHER, item, inner))
        self.visit_children(node, inner)
        return inner

    def _class(self, node: cst.ClassDef, scope: Scope) -> None:
        self.tree.definitions.append(node)
        self.tree.scopes[node] = scope
        self.bind(scope, Binding(node.name.value, BindingKind.DEFINITION, node, scope))
        scope = self._typed(node, node.type_parameters, scope)
        self.visit_children(node, scope, skip=("body", "type_parameters"))
        self._child(node, node.body, Scope(node, scope))

    def _comprehension(self, node: cst.BaseComp | cst.DictComp, scope: Scope) -> None:
        inner = Scope(node, scope)
        clause: cst.CompFor | None = node.for_in
        first, holder = True, node
        while clause is not None:
            self.tree.parents[clause] = holder
            self._child(clause, clause.iter, scope if first else inner)
            self.tree.parents[clause.target] = clause
            self._target(clause.target, inner, BindingKind.ITEM, clause.iter)
            for condition in clause.ifs:
                self._child(clause, condition, inner)
            holder, clause, first = clause, clause.inner_for_in, False  # type: ignore[assignment]
        self.visit_children(node, inner, skip=("for_in",))

    def _import(self, node: cst.Import, scope: Scope) -> None:
        self.tree.imports.append(node)
        self.tree.scopes[node] = scope
        self.visit_children(node, scope)
        for alias in node.names:
            name = alias.evaluated_alias or alias.evaluated_name.split(".")[0]
            self.bind(scope, Binding(name, BindingKind.IMPORT, alias, scope, statement=node))

    def _import_from(self, node: cst.ImportFrom, scope: Scope) -> None:
        self.tree.imports.append(node)
        self.tree.scopes[node] = scope
        self.visit_children(node, scope)
        if not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                name = alias.evaluated_alias or alias.evaluated_name
                self.bind(scope, Binding(name, BindingKind.IMPORT, alias, scope, statement=node))

    def _assign(self, node: cst.Assign, scope: Scope) -> None:
        self.tree.assignments.append(node)
        self.tree.scopes[node] = scope
        self._child(node, node.value, scope)
        for target in node.targets:
            self.tree.parents[target] = node
            self.tree.parents[target.target] = target
            self._target(target.target, scope, BindingKind.ASSIGN, node.value)

    def _annotated(self, node: cst.AnnAssign, scope: Scope) -> None:
        self.tree.assignments.append(node)
        self.tree.scopes[node] = scope
        self._child(node, node.annotation, scope)
        if node.value:
            self._child(node, node.value, scope)
        self.tree.parents[node.target] = node
        if node.value or not isinstance(node.target, cst.Name):
            self._target(node.target, scope, BindingKind.ASSIGN, node.value)

    def _augmented(self, node: cst.AugAssign, scope: Scope) -> None:
        self.tree.assignments.append(node)
        self.tree.scopes[node] = scope
        self._child(node, node.value, scope)
        self.tree.parents[node.target] = node
        if isinstance(node.target, cst.Name):
            self._name(node.target, scope)
        self._target(node.target, scope, BindingKind.OTHER, None)

    def _walrus(self, node: cst.NamedExpr, scope: Scope) -> None:
        self._child(node, node.value, scope)
        home = scope
        while isinstance(home.node, COMPREHENSIONS) and home.parent:
            home = home.parent
        self.tree.parents[node.target] = node
        self._target(node.target, home, BindingKind.ASSIGN, node.value)

    def _for(self, node: cst.For, scope: Scope) -> None:
        self._child(node, node.iter, scope)
        self.tree.parents[node.target] = node
        self._target(node.target, scope, BindingKind.ITEM, node.iter)
        self.visit_children(node, scope, skip=("iter", "target"))

    def _with_item(self, node: cst.WithItem, scope: Scope) -> None:
        self._child(node, node.item, scope)
        if node.asname:
            self._as_name(node, node.asname, scope, BindingKind.WITH, node.item)

    def _except(self, node: cst.ExceptHandler | cst.ExceptStarHandler, scope: Scope) -> None:
        if node.name:
            self._as_name(node, node.name, scope, BindingKind.OTHER, None)
        self.visit_children(node, scope, skip=("name",))

    def _as_name(self, parent: cst.CSTNode, node: cst.AsName, scope: Scope, kind: BindingKind, value: Value) -> None:
        self.tree.parents[node] = parent
        self.tree.parents[node.name] = node
        self._target(node.name, scope, kind, value)

    def _global(self, node: cst.Global, scope: Scope) -> None:
        for item in node.names:
            scope.outer[item.name.value] = scope.module()

    def _nonlocal(self, node: cst.Nonlocal, scope: Scope) -> None:
        for item in node.names:
            home = scope.parent
            while home is not None and (item.name.value not in home.bindings or isinstance(home.node, cst.ClassDef)):
                home = home.parent
            if home is not None:
                scope.outer[item.name.value] = home

    def _capture(self, node: cst.MatchAs | cst.MatchStar | cst.MatchMapping, scope: Scope) -> None:
        label = "rest" if isinstance(node, cst.MatchMapping) else "name"
        if (name := getattr(node, label)) is not None:
            self._target(name, scope, BindingKind.OTHER, None)
            self.tree.parents[name] = node
        self.visit_children(node, scope, skip=(label,))

    def _annotation(self, node: cst.Annotation, scope: Scope) -> None:
        outer, self.annotation = self.annotation, True
        self.visit_children(node, scope)
        self.annotation = outer

    def _string(self, node: cst.SimpleString | cst.FormattedString, scope: Scope) -> None:
        self.tree.strings.append(node)
        self.tree.scopes[node] = scope
        if self.annotation and isinstance(node, cst.SimpleString):
            self.tree.annotations.append((node, scope))
        self.visit_children(node, scope)

    def _listed(self, node: cst.Call | cst.Attribute, scope: Scope) -> None:
        (self.tree.calls if isinstance(node, cst.Call) else self.tree.attributes).append(node)  # type: ignore[arg-type]
        self.tree.scopes[node] = scope
        self.visit_children(node, scope)

    def _type_alias(self, node: cst.TypeAlias, scope: Scope) -> None:
        self._target(node.name, scope, BindingKind.OTHER, None)
        self.tree.parents[node.name] = node
        self.visit_children(node, self._typed(node, node.type_parameters, scope), skip=("name", "type_parameters"))

"""The value of an expression as far as the source alone says it, environment variables as the plan refers to them.

``os.environ.get("REDIS", "redis://localhost") + "/0"`` is ``${REDIS:-redis://localhost}/0``. Whatever depends on
anything else, such as a name that is assigned twice, is unknown.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from migrator.inventory.callables import Load
from migrator.inventory.module_facts import ModuleFacts, assigned_names

_ENVIRON = frozenset({"os.environ.get", "os.getenv", "decouple.config"})
_ENV_CLASSES = frozenset({"environ.Env", "environ.FileAwareEnv", "environs.Env", "decouple.Config"})
#: A queue stands for its name.
_QUEUES = frozenset({"kombu.Queue", "kombu.entity.Queue"})
_SETTINGS = "django.conf.settings."
_SECONDS = {
    **{"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1},
    **{"milliseconds": 0.001, "microseconds": 0.000001},
}
_TIMEDELTA = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
_SEQUENCES: Mapping[str, type] = {"list": list, "tuple": tuple, "range": range, "set": list, "frozenset": list}
_DEPTH = 20


class UnknownValueError(Exception):
    """The source alone doesn't say it; the text is the expression."""


class StaticValues:
    """Values of the expressions of a project."""

    def __init__(self, load: Load, settings: Sequence[str]) -> None:
        """Take what parses a module, and the dotted names that Django's settings may have."""
        self.load = load
        self.settings = settings

    def of(self, facts: ModuleFacts, node: ast.expr, depth: int = 0) -> Any:
        """Return the value of an expression of a file.

        Raises:
            UnknownValueError: It can't be known.
        """
        if depth > _DEPTH:
            raise _unknown(node)
        inner = depth + 1
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._named(facts, node, inner)
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self.of(facts, item, inner) for item in node.elts]
        if isinstance(node, ast.Dict):
            return self._dict(facts, node, inner)
        if isinstance(node, ast.JoinedStr):
            return "".join(self._part(facts, part, inner) for part in node.values)
        if isinstance(node, (ast.BinOp, ast.UnaryOp)):
            return self._operation(facts, node, inner)
        if isinstance(node, ast.Call):
            return self._call(facts, node, inner)
        if isinstance(node, ast.Subscript) and facts.dotted(node.value) == "os.environ":
            return _reference(node, self.of(facts, node.slice, inner), None)
        if isinstance(node, ast.Subscript):
            return self._item(facts, node, inner)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and len(node.values) == 2:
            first, second = (self.of(facts, item, inner) for item in node.values)
            if isinstance(first, str) and first.startswith("${") and first.endswith("}") and ":-" not in first:
                return _reference(node, first[2:-1], second)
        raise _unknown(node)

    def _named(self, facts: ModuleFacts, node: ast.Name | ast.Attribute, depth: int) -> Any:
        dotted = facts.dotted(node)
        if dotted.startswith(_SETTINGS):
            found = list(self.setting(dotted.removeprefix(_SETTINGS)))
        else:
            module, _, name = dotted.rpartition(".")
            owner = facts if module == facts.name else self.load(module)
            if owner is None:
                return self._member(node, module, name, depth)
            found = [(owner, value) for value in _assigned(owner, name)]
            if not found and name in owner.bindings and owner.bindings[name] != dotted:
                leaf = ast.copy_location(ast.Name(name), node)
                return self._named(owner, leaf, depth + 1) if depth < _DEPTH else None
            if not found:
                found = [item for star in owner.stars for item in self._in_module(star, name)]
            if not found and isinstance(node, ast.Name) and owner is facts:
                found = [(owner, value) for value in _given(_body_around(facts, node), name)]
        if len(found) != 1:
            raise _unknown(node)
        return self.of(*found[0], depth)

    def _member(self, node: ast.expr, path: str, name: str, depth: int) -> Any:
        """Return what a class of the project gives a name: a constant, or a member of an enumeration."""
        if name == "value" and isinstance(node, ast.Attribute):
            path, _, name = path.rpartition(".")
        module, _, owner = path.rpartition(".")
        home = self.load(module) if module else None
        classes = [item for item in home.tree.body if isinstance(item, ast.ClassDef)] if home is not None else []
        found = [value for item in classes if item.name == owner for value in _given(item.body, name)]
        if home is None or len(found) != 1:
            raise _unknown(node)
        return self.of(home, found[0], depth)

    def setting(self, name: str) -> Iterator[tuple[ModuleFacts, ast.expr]]:
        """Yield where a Django setting is assigned; several if it depends."""
        found = [place for module in self.settings for place in self._in_module(module, name)]
        yield from {id(node): (facts, node) for facts, node in found}.values()

    def _in_module(self, module: str, name: str, depth: int = 0) -> list[tuple[ModuleFacts, ast.expr]]:
        facts = self.load(module) if module else None
        if facts is None or depth > _DEPTH:
            return []
        found = [(facts, value) for value in _assigned(facts, name, classes=True)]
        if found:
            return found
        return [item for star in reversed(facts.stars) for item in self._in_module(star, name, depth + 1)]

    def _dict(self, facts: ModuleFacts, node: ast.Dict, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.of(facts, item, depth)
            if key is not None:
                found[self.of(facts, key, depth)] = value
            elif isinstance(value, dict):
                found |= value
            else:
                raise _unknown(node)
        return found

    def _part(self, facts: ModuleFacts, node: ast.expr, depth: int) -> str:
        if isinstance(node, ast.FormattedValue):
            if node.conversion != -1 or node.format_spec is not None:
                raise _unknown(node)
            node = node.value
        value = self.of(facts, node, depth)
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise _unknown(node)
        return str(value)

    def _item(self, facts: ModuleFacts, node: ast.Subscript, depth: int) -> Any:
        owner, key = self.of(facts, node.value, depth), self.of(facts, node.slice, depth)
        try:
            return owner[key]
        except (TypeError, KeyError, IndexError):
            raise _unknown(node) from None

    def _operation(self, facts: ModuleFacts, node: ast.BinOp | ast.UnaryOp, depth: int) -> Any:
        if isinstance(node, ast.UnaryOp):
            value = self.of(facts, node.operand, depth)
            if isinstance(node.op, ast.USub) and isinstance(value, (int, float)):
                return -value
            raise _unknown(node)
        left, right = self.of(facts, node.left, depth), self.of(facts, node.right, depth)
        numbers = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in (left, right))
        if isinstance(node.op, ast.Add) and (numbers or (type(left) is type(right) and isinstance(left, (str, list)))):
            return left + right
        if isinstance(node.op, ast.Mult) and numbers:
            return left * right
        if isinstance(node.op, ast.BitOr) and isinstance(left, dict) and isinstance(right, dict):
            return left | right
        if isinstance(node.op, ast.Mod) and isinstance(left, str) and left.count("%") == left.count("%s"):
            values = right if isinstance(right, list) else [right]
            if len(values) == left.count("%s"):
                return left % tuple(values)
        raise _unknown(node)

    def _call(self, facts: ModuleFacts, node: ast.Call, depth: int) -> Any:
        dotted = facts.dotted(node.func)
        if self._reads_environment(facts, node.func, dotted, depth):
            return self._environment(facts, node, depth)
        args = [self.of(facts, item, depth) for item in node.args]
        given = {item.arg or "": self.of(facts, item.value, depth) for item in node.keywords}
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if dotted == "datetime.timedelta":
            given = {**dict(zip(_TIMEDELTA, args, strict=False)), **given}
            if all(isinstance(value, (int, float)) and key in _SECONDS for key, value in given.items()):
                return sum(_SECONDS[key] * value for key, value in given.items())
        elif dotted in _QUEUES and isinstance(given.get("name", args[0] if args else None), str):
            return given.get("name", args[0] if args else None)
        elif name == "dict" and not args and "" not in given:
            return given
        elif name in _SEQUENCES and not given and all(isinstance(item, (int, list)) for item in args[:1]):
            return list(_SEQUENCES[name](*args))
        elif name in {"int", "float", "str"} and len(args) == 1 and isinstance(args[0], (str, int, float)):
            return _converted(name, args[0])
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            text = self.of(facts, node.func.value, depth)
            if isinstance(text, str) and not any("${" in piece for piece in text.split("{}")):
                return text.format(*args, **given)
        raise _unknown(node)

    def _reads_environment(self, facts: ModuleFacts, func: ast.expr, dotted: str, depth: int) -> bool:
        """Tell whether a call reads an environment variable: of ``os``, django-environ, environs or python-decouple."""
        if dotted in _ENVIRON:
            return True
        owner = func.value if isinstance(func, ast.Attribute) and func.attr in {"str", "url", "int"} else func
        module, _, name = facts.dotted(owner).rpartition(".")
        home = facts if module == facts.name else self.load(module)
        made = _assigned(home, name) if home is not None and name else []
        return (
            len(made) == 1
            and isinstance(made[0], ast.Call)
            and home is not None
            and (home.dotted(made[0].func) in _ENV_CLASSES)
        )

    def _environment(self, facts: ModuleFacts, node: ast.Call, depth: int) -> str:
        given = {item.arg: item.value for item in node.keywords}
        default = given.get("default", node.args[1] if len(node.args) > 1 else None)
        if not node.args or isinstance(default, (ast.Lambda,)):
            raise _unknown(node)
        value = None if default is None else self.of(facts, default, depth)
        return _reference(node, self.of(facts, node.args[0], depth), value)


def _assigned(facts: ModuleFacts, name: str, *, classes: bool = False) -> list[ast.expr]:
    """Return what a name of a module is given, in its classes too if they hold settings."""
    found = _given(facts.tree.body, name)
    if classes and not found:
        found = [v for item in facts.tree.body if isinstance(item, ast.ClassDef) for v in _given(item.body, name)]
    return found


def _body_around(facts: ModuleFacts, node: ast.expr) -> Sequence[ast.stmt]:
    """Return the body of the class in which a name is read, such as one of settings; nothing outside of classes."""
    classes = [item for item in facts.tree.body if isinstance(item, ast.ClassDef)]
    return next((item.body for item in classes if item.lineno <= node.lineno <= (item.end_lineno or 0)), ())


def _given(statements: Sequence[ast.stmt], name: str) -> list[ast.expr]:
    """Return what a name is given at the top of a module or class; twice what depends on anything."""
    found: list[ast.expr] = []
    waiting: list[tuple[Sequence[ast.stmt], bool]] = [(statements, False)]
    for body, depends in waiting:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            if isinstance(node, ast.Assign):
                targets, value = node.targets, node.value
            elif isinstance(node, (ast.AnnAssign, ast.AugAssign)) and node.value is not None:
                targets, value = [node.target], node.value
            else:
                parts = [node, *getattr(node, "handlers", ())]
                blocks = [getattr(part, key, []) for part in parts for key in ("body", "orelse", "finalbody")]
                waiting += [(block, True) for block in blocks if isinstance(block, list)]
                continue
            given = [one for target in targets for known, one in assigned_names(target, value) if known == name]
            found += given * (2 if depends or isinstance(node, ast.AugAssign) else 1)
    return found


def _reference(node: ast.expr, name: Any, default: Any) -> str:
    """Return how the plan refers to an environment variable."""
    if not isinstance(name, str) or not name.isidentifier() or "}" in str(default):
        raise _unknown(node)
    return f"${{{name}}}" if default is None else f"${{{name}:-{default}}}"


def _converted(name: str, value: str | float) -> Any:
    if isinstance(value, str) and "${" in value:
        return value
    try:
        return {"int": int, "float": float, "str": str}[name](value)
    except ValueError:
        raise UnknownValueError(f"{name}({value!r})") from None


def _unknown(node: ast.AST) -> UnknownValueError:
    return UnknownValueError(ast.unparse(node)[:120])

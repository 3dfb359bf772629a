"""What Python source files say about themselves, read by `ast` and never run.

`parse_library` turns a folder of source into `Source` records: definitions, imports, `__all__`.
From these, `re_exports` finds the names under which packages publish what their submodules define,
and `documented` finds the members that a class gets from base classes, wherever they are defined.
"""

import ast
import contextlib
import gc
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = FunctionNode | ast.ClassDef


@dataclass(slots=True)
class Source:
    """One parsed module: its top-level definitions and how it names those of others."""

    name: str
    is_package: bool
    doc: str | None
    members: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    """local name -> qualified name"""
    stars: list[str] = field(default_factory=list)
    """modules that `from module import *` takes from"""
    exported: list[str] | None = None
    """`__all__`, where it is a literal"""
    instances: dict[str, str] = field(default_factory=dict)
    """module variable -> the name called to make it, as `_inst = Random()`"""
    bound: dict[str, str] = field(default_factory=dict)
    """module variable -> the variable whose attribute it is, as `seed = _inst.seed`"""

    def public_members(self) -> list[str]:
        """What `from module import *` would bring."""
        if self.exported is not None:
            return self.exported
        return [name for name in self.members if not name.startswith("_")]


@dataclass(frozen=True, slots=True)
class ClassSource:
    """A class definition, the module that holds it, and its qualified name there."""

    source: Source
    node: ast.ClassDef
    qualified: str

    def members(self) -> dict[str, Definition]:
        """The first definition of each name, also below if."""
        nested = [n for b in self.node.body if isinstance(b, ast.If) for n in (*b.body, *b.orelse)]
        found: dict[str, Definition] = {}
        for node in (*self.node.body, *nested):
            if isinstance(node, Definition):
                found.setdefault(node.name, node)
        return found

    def bases(self, modules: Mapping[str, Source]) -> Iterator["ClassSource"]:
        """Base classes that `modules` define, in order."""
        for base in self.node.bases:
            match base:
                case ast.Name(id=name) if name in self.source.members:
                    origin = self.source.name
                case ast.Name(id=name):
                    origin, _, name = self.source.imports.get(name, "").rpartition(".")
                case ast.Attribute(value=ast.Name(id=module), attr=name):
                    origin = self.source.imports.get(module, module)
                case _:
                    continue
            found = modules[origin].members.get(name) if origin in modules else None
            if isinstance(found, ast.ClassDef) and found is not self.node:
                yield ClassSource(modules[origin], found, f"{origin}.{name}")


def parse_library(root: Path, *, skipped: Collection[str]) -> dict[str, Source]:
    """Every module below `root` that parses, by its name; no path part may be in `skipped`."""
    with _collector_paused():
        return {source.name: source for source in _parsed(root, frozenset(skipped))}


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Syntax trees hold no cycles, and walking them again and again takes 3 of 4.5 seconds."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parsed(root: Path, skipped: frozenset[str]) -> Iterator[Source]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not skipped.isdisjoint(parts) or parts[-1] == "__main__":
            continue
        is_package = parts[-1] == "__init__"
        names = parts[:-1] if is_package else parts
        if not names or not all(name.isidentifier() for name in names):
            continue
        try:
            with warnings.catch_warnings():
                # Old escapes in a library file are its authors' business.
                warnings.simplefilter("ignore")
                tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, OSError, RecursionError):
            continue
        source = Source(".".join(names), is_package, ast.get_docstring(tree))
        _read_body(source, tree.body)
        for node in source.members.values():
            _drop_code(node)
        yield source


def _drop_code(node: Definition) -> None:
    """Forget the statements below a docstring: 98 MiB at the peak instead of 262."""
    if isinstance(node, FunctionNode):
        del node.body[1:]
        return
    node.body = [n for n in node.body if isinstance(n, Definition | ast.Expr | ast.If)]
    for inner in ast.walk(node):
        if isinstance(inner, FunctionNode):
            del inner.body[1:]


def _read_body(source: Source, body: Sequence[ast.stmt]) -> None:
    """Note definitions, imports and `__all__`, also those below if, try and with."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name == "__getattr__":
                    _read_body(source, node.body)  # lazy packages import their members here
                source.members.setdefault(name, node)
            case ast.ClassDef(name=name):
                source.members.setdefault(name, node)
            case ast.ImportFrom():
                _read_import(source, node)
            case ast.Import(names=names):
                source.imports.update({a.asname: a.name for a in names if a.asname})
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                with contextlib.suppress(ValueError, TypeError):
                    source.exported = list(ast.literal_eval(value))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id=cls))):
                source.instances[name] = cls
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Attribute(value=ast.Name(id=owner), attr=attribute),
            ) if name == attribute:
                source.bound[name] = owner
            case ast.If(body=inner, orelse=other) | ast.Try(body=inner, orelse=other):
                handlers = node.handlers if isinstance(node, ast.Try) else []
                for part in (inner, other, *(handler.body for handler in handlers)):
                    _read_body(source, part)
            case ast.With(body=inner):
                _read_body(source, inner)
            case _:
                pass


def _read_import(source: Source, node: ast.ImportFrom) -> None:
    origin = node.module or ""
    if node.level:
        package = source.name.split(".")
        kept = package[: len(package) - node.level + source.is_package]
        origin = ".".join([*kept, *([node.module] if node.module else [])])
    for alias in node.names:
        if alias.name == "*":
            source.stars.append(origin)
        else:
            source.imports.setdefault(alias.asname or alias.name, f"{origin}.{alias.name}")


def re_exports(modules: Mapping[str, Source]) -> dict[str, str]:
    """Qualified name of a definition -> the shorter name that its package publishes it under.

    Also the methods of a hidden instance that a module offers as functions (`random.choice`).
    """
    renamed: dict[str, str] = {}
    for source in modules.values():
        for name, owner in source.bound.items():
            if owner in source.instances:
                renamed[f"{source.name}.{source.instances[owner]}.{name}"] = f"{source.name}.{name}"
        if source.is_package:
            for qualified, name in _offered(source, modules):
                renamed.setdefault(qualified, f"{source.name}.{name}")
    return renamed


def _offered(package: Source, modules: Mapping[str, Source]) -> Iterator[tuple[str, str]]:
    """(qualified name, local name) of what a package takes from its own submodules."""
    offered = dict(package.imports)
    for origin in package.stars:
        if origin in modules:
            offered |= {name: f"{origin}.{name}" for name in modules[origin].public_members()}
    for qualified in package.imports.values():  # as in `from .thread import Pool as _Pool`
        offered.setdefault(qualified.rpartition(".")[2], qualified)
    for name, qualified in offered.items():
        origin, _, defined = qualified.rpartition(".")
        if not origin.startswith(f"{package.name}.") or name.startswith("_"):
            continue
        if package.exported is not None and name not in package.exported:
            continue
        if origin in modules and defined in modules[origin].members:
            yield qualified, name


def documented(
    cls: ClassSource,
    modules: Mapping[str, Source],
    is_public: Callable[[str], bool],
    within: frozenset[str] = frozenset(),
) -> dict[str, Definition]:
    """Members by name: the class's own, then those that only its private bases document.

    What a public base documents is left to that base's own entry.
    """
    members = cls.members()
    if cls.qualified in within:
        return members
    elsewhere: set[str] = set()
    inherited: dict[str, Definition] = {}
    for base in cls.bases(modules):
        of_base = documented(base, modules, is_public, within | {cls.qualified})
        if is_public(base.qualified):
            elsewhere |= {name for name, node in of_base.items() if ast.get_docstring(node)}
        else:
            inherited = {**of_base, **inherited}
    for name, node in inherited.items():
        own = members.get(name)
        if name not in elsewhere and (own is None or not ast.get_docstring(own)):
            members[name] = node
    return members

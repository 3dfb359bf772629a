"""The documentation strings of the installed Python's standard library, as a corpus.

Every machine that runs this project has this corpus. Sources are parsed, never imported; only the
C modules listed in `C_MODULES`, which have no source to parse, are asked for their `__doc__`.

A document is a module, class, function, method or property that has a docstring and a *public
name*, and is published under that name: `os.remove` and not `posix.remove`, `unittest.TestCase` and
not `unittest.case.TestCase`, `argparse.ArgumentParser.add_argument` and not the private base class
that defines it. What no public name leads to is left out, and so are tests, applications (IDLE,
turtle demos), code pages and packages that newer Pythons removed.
"""

import ast
import importlib
import inspect
import re
import sysconfig
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import DatasetError
from ..types import Document
from .pysource import (
    ClassSource,
    FunctionNode,
    Source,
    documented,
    parse_library,
    re_exports,
)

C_MODULES: tuple[str, ...] = (
    *("builtins", "array", "atexit", "binascii", "cmath", "errno", "faulthandler", "fcntl", "gc"),
    *("grp", "itertools", "marshal", "math", "mmap", "pwd", "resource", "select", "sys", "termios"),
    *("time", "unicodedata", "zlib", "posix", "nt"),
    *("_bz2", "_codecs", "_collections", "_contextvars", "_csv", "_datetime", "_decimal"),
    *("_functools", "_hashlib", "_io", "_locale", "_lzma", "_operator", "_pickle", "_queue"),
    *("_random", "_signal", "_socket", "_sqlite3", "_ssl", "_struct", "_thread", "_tracemalloc"),
    *("_weakref", "posixpath.splitext", "re.Match", "re.Pattern"),
    *("types.CoroutineType", "types.GeneratorType"),
)
"""Modules, and single members of some, whose import has no side effect; absent ones are passed
over."""

PUBLIC_NAMES: Mapping[str, str] = {
    "_collections_abc": "collections.abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "genericpath": "os.path",
    "posixpath": "os.path",
    "multiprocessing.context.BaseContext": "multiprocessing",
    "posix": "os",
    "nt": "os",
    "_csv.Reader": "csv.reader",
    "_csv.Writer": "csv.writer",
    "_hashlib.pbkdf2_hmac": "hashlib.pbkdf2_hmac",
    "_hashlib.scrypt": "hashlib.scrypt",
    "_operator._compare_digest": "hmac.compare_digest",
    "_random.Random": "random",
    "_ssl._SSLContext": "ssl.SSLContext",
    "_thread.LockType": "threading.Lock",
    "_thread.lock": "threading.Lock",
    "_thread.RLock": "threading.RLock",
    "unicodedata.UCD": "_",  # doubles the functions of its module
    **{
        f"_{name}": name
        for name in (
            *("bz2", "codecs", "collections", "contextvars", "csv", "datetime", "decimal"),
            *("functools", "io", "locale", "lzma", "operator", "pickle", "queue", "random"),
            *("signal", "socket", "sqlite3", "struct", "tracemalloc", "weakref"),
        )
    },
}
"""Where an implementation is published when no import statement says so; the longest prefix
decides."""

_SKIPPED = frozenset(
    {
        *("site-packages", "dist-packages", "lib-dynload", "__pycache__"),
        *("test", "tests", "idle_test", "idlelib", "turtledemo", "pydoc_data", "encodings"),
        "ntpath",  # doubles os.path
        *("lib2to3", "distutils"),  # gone by Python 3.13
    }
)
_NOT_HIDDEN = frozenset({"__future__"})


def python_docs(
    *, stdlib: Path | None = None, c_modules: Sequence[str] = C_MODULES
) -> Iterator[Document]:
    """Yield the corpus in the order of its unique ids, the qualified public names.

    Fields: `title` (the name, and its words where it is compound), `text` (signature and
    docstring), `module`, `kind` (module, class, function, method or property). Python 3.11 gives
    some 6,700 documents, in about two seconds. `stdlib` is the library's source folder, by default
    this interpreter's. Raises `DatasetError` when that folder holds no source.
    """
    root = Path(sysconfig.get_path("stdlib")) if stdlib is None else stdlib
    modules = parse_library(root, skipped=_SKIPPED)
    if not modules:
        raise DatasetError(
            f"{root}: no Python source of a standard library here; the python-docs corpus is read "
            "from it. Use a Python whose library is installed as .py files"
        )
    homes = {*modules, *(name.partition(".")[0] for name in c_modules)}
    namer = _Namer({**re_exports(modules), **PUBLIC_NAMES}, homes)
    found: dict[str, Document] = {}
    for document in (*_from_source(modules, namer), *_from_c(c_modules, namer)):
        found.setdefault(document.doc_id, document)
    yield from (found[name] for name in sorted(found))


class _Namer:
    """Public names: the longest renamed prefix of a qualified name is replaced."""

    def __init__(self, renamed: Mapping[str, str], modules: Collection[str]) -> None:
        self._renamed = renamed
        self._modules = {name for module in modules if (name := self.public(module))}

    def public(self, qualified: str) -> str | None:
        """The public name, or None where there is none."""
        prefix, rest = qualified, ""
        while prefix and prefix not in self._renamed:
            prefix, _, last = prefix.rpartition(".")
            rest = f".{last}{rest}"
        name = self._renamed[prefix] + rest if prefix else qualified
        parts = name.split(".")
        hidden = any(part.startswith("_") and part not in _NOT_HIDDEN for part in parts)
        return None if hidden else name

    def is_public(self, qualified: str) -> bool:
        return self.public(qualified) is not None

    def module_of(self, name: str) -> str:
        """The module that publishes this public name: its longest prefix that is one."""
        while name and name not in self._modules:
            name = name.rpartition(".")[0]
        return name

    def document(self, name: str, kind: str, signature: str, doc: str) -> Document:
        doc = inspect.cleandoc(doc)
        words = _words(name.rpartition(".")[2])
        fields = {
            "title": f"{name} ({words})" if words else name,
            "text": f"{signature}\n{doc}" if signature else doc,
            "module": self.module_of(name),
            "kind": kind,
        }
        return Document(name, fields)


def _from_source(modules: Mapping[str, Source], namer: _Namer) -> Iterator[Document]:
    # A module of its own name comes before one that is only published there.
    for source in sorted(modules.values(), key=lambda s: namer.public(s.name) != s.name):
        name = namer.public(source.name)
        if name and source.doc:
            yield namer.document(name, "module", "", source.doc)
        for member, node in source.members.items():
            qualified = f"{source.name}.{member}"
            if (name := namer.public(qualified)) is None:
                continue
            if isinstance(node, ast.ClassDef):
                cls = ClassSource(source, node, qualified)
                yield from _class_documents(cls, name, modules, namer)
            elif doc := ast.get_docstring(node):
                yield namer.document(name, "function", _signature(node), doc)


def _class_documents(
    cls: ClassSource, name: str, modules: Mapping[str, Source], namer: _Namer
) -> Iterator[Document]:
    """The class with its constructor's text, then its members and those of its private bases."""
    members = documented(cls, modules, namer.is_public)
    constructor = members.get("__init__")
    doc = ast.get_docstring(cls.node) or ""
    signature = cls.node.name
    if isinstance(constructor, FunctionNode):
        signature = _signature(constructor, cls.node.name)
        doc = "\n\n".join(filter(None, (doc, ast.get_docstring(constructor))))
    if doc:
        yield namer.document(name, "class", signature, doc)
    for member, node in members.items():
        qualified = f"{cls.qualified}.{member}"
        if (full := namer.public(qualified)) is None:
            continue
        if isinstance(node, ast.ClassDef):
            inner = ClassSource(cls.source, node, qualified)
            yield from _class_documents(inner, full, modules, namer)
        elif member_doc := ast.get_docstring(node):
            kind = "property" if _is_property(node) else "method"
            signature = node.name if kind == "property" else _signature(node)
            yield namer.document(full, kind, signature, member_doc)


def _is_property(node: FunctionNode) -> bool:
    names = (ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list)
    return any(name.endswith("property") for name in names)


def _signature(node: FunctionNode, name: str | None = None) -> str:
    """`name(arguments)` without self and cls, annotations and defaults as written."""
    arguments = ast.unparse(node.args)
    first, _, rest = arguments.partition(", ")
    return f"{name or node.name}({rest if first in {'self', 'cls'} else arguments})"


def _from_c(names: Sequence[str], namer: _Namer) -> Iterator[Document]:
    for qualified in names:
        module_name, _, member = qualified.partition(".")
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            continue  # another platform's, or left out of this build
        if member:
            yield from _object_documents(getattr(module, member), qualified, namer)
            continue
        if namer.public(module_name) == module_name and module.__doc__:
            yield namer.document(module_name, "module", "", module.__doc__)
        members = vars(module)
        for name, value in sorted(members.items(), key=_functions_first):
            own_name = getattr(value, "__name__", name)
            if own_name != name and members.get(own_name) is value:
                continue  # a second name of the same thing, as array.ArrayType
            if isinstance(value, type) and value.__module__ == "builtins" != module_name:
                continue  # OSError under the name that a module once had for it
            yield from _object_documents(value, f"{module_name}.{name}", namer)


def _functions_first(item: tuple[str, object]) -> tuple[bool, str]:
    """`csv.writer` is the function; the methods of the type behind it follow."""
    return isinstance(item[1], type), item[0]


def _object_documents(value: object, qualified: str, namer: _Namer) -> Iterator[Document]:
    """A function, or a type and its members."""
    name = namer.public(qualified)
    if name is None or not (inspect.isroutine(value) or isinstance(value, type)):
        return
    if isinstance(value.__doc__, str):
        kind = "class" if isinstance(value, type) else "function"
        signature = _c_signature(name.rpartition(".")[2], value)
        yield namer.document(name, kind, signature, value.__doc__)
    if not isinstance(value, type):
        return
    for member, attribute in sorted(vars(value).items()):
        full = namer.public(f"{qualified}.{member}")
        doc = getattr(attribute, "__doc__", None)
        if full is None or not isinstance(doc, str):
            continue
        if inspect.isroutine(attribute):
            yield namer.document(full, "method", _c_signature(member, attribute), doc)
        elif inspect.isgetsetdescriptor(attribute) or inspect.ismemberdescriptor(attribute):
            yield namer.document(full, "property", member, doc)


def _c_signature(name: str, value: object) -> str:
    """`name(arguments)`; empty where C does not tell, as its docstring then begins with it."""
    text = getattr(value, "__text_signature__", None)
    if inspect.isfunction(value):
        return f"{name}{inspect.signature(value)}"
    return name + re.sub(r"^\(\$\w+(, /)?(, )?", "(", text) if isinstance(text, str) else ""


def _words(name: str) -> str:
    """The words of a compound name; empty for a simple one.

    >>> _words("ThreadPoolExecutor"), _words("read_text"), _words("rmtree")
    ('Thread Pool Executor', 'read text', '')
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return " ".join(words) if len(words) > 1 else ""

import ast
import gc
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from lsr.datasets import load_dataset
from lsr.datasets.pydocs import python_docs
from lsr.errors import DatasetError
from lsr.types import Document


@pytest.fixture(scope="module")
def corpus() -> dict[str, Document]:
    documents = list(python_docs())
    found = {document.doc_id: document for document in documents}
    assert len(found) == len(documents), "ids must be unique"
    return found


def library(root: Path, files: dict[str, str]) -> dict[str, Document]:
    """The corpus of a made-up standard library."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {document.doc_id: document for document in python_docs(stdlib=root, c_modules=())}


def test_every_judged_answer_is_in_the_corpus_of_this_python(corpus: dict[str, Document]) -> None:
    """An id that no document has can never be found and would lower every system alike."""
    judged = {
        doc_id for answers in load_dataset("python-docs").qrels().values() for doc_id in answers
    }
    assert judged - corpus.keys() == set()


def test_each_question_is_judged_once_and_has_a_best_answer() -> None:
    dataset = load_dataset("python-docs")
    queries = dataset.queries()
    assert len(queries) >= 130
    assert len({query.text for query in queries}) == len(queries)
    qrels = dataset.qrels()
    assert qrels.keys() == {query.query_id for query in queries}
    for answers in qrels.values():
        assert set(answers.values()) <= {1, 2}
        assert 2 in answers.values()


def test_the_corpus_has_thousands_of_texts_and_none_is_empty(corpus: dict[str, Document]) -> None:
    assert 5_500 < len(corpus) < 8_500
    for document in corpus.values():
        assert document.doc_id in str(document.fields["title"])
        assert str(document.fields["text"]).strip()
    kinds = Counter(document.fields["kind"] for document in corpus.values())
    assert kinds.keys() == {"module", "class", "function", "method", "property"}


@pytest.mark.parametrize(
    ("doc_id", "module", "kind"),
    [
        ("shutil.rmtree", "shutil", "function"),
        ("os.remove", "os", "function"),
        ("os.path.splitext", "os.path", "function"),
        ("builtins.dict.get", "builtins", "method"),
        ("datetime.datetime.strptime", "datetime", "method"),
        ("collections.deque.appendleft", "collections", "method"),
        ("collections.abc.Mapping.get", "collections.abc", "method"),
        ("io.StringIO", "io", "class"),
        ("unittest.TestCase.assertRaises", "unittest", "method"),
        ("concurrent.futures.ThreadPoolExecutor", "concurrent.futures", "class"),
        ("argparse.ArgumentParser.add_argument", "argparse", "method"),
        ("pathlib.Path.exists", "pathlib", "method"),
        ("pathlib.PurePath.suffix", "pathlib", "property"),
        ("random.choice", "random", "function"),
        ("multiprocessing.Barrier", "multiprocessing", "method"),
        ("threading.Lock.acquire", "threading", "method"),
        ("re.Match.groupdict", "re", "method"),
        ("itertools.chain.from_iterable", "itertools", "method"),
    ],
)
def test_things_are_published_under_the_name_that_programs_use(
    corpus: dict[str, Document], doc_id: str, module: str, kind: str
) -> None:
    fields = corpus[doc_id].fields
    assert fields["module"] == module
    if doc_id not in ("random.choice", "multiprocessing.Barrier"):  # methods of a hidden instance
        assert fields["kind"] == kind


def test_no_name_is_private_and_no_implementation_module_shows(corpus: dict[str, Document]) -> None:
    for doc_id in corpus:
        parts = doc_id.split(".")
        assert not any(part.startswith("_") and part != "__future__" for part in parts), doc_id
        assert parts[0] not in {"posix", "nt", "ntpath", "posixpath", "genericpath", "test"}, doc_id


def test_docstrings_are_those_of_the_running_interpreter(corpus: dict[str, Document]) -> None:
    """The oracle is `__doc__`, which the collector of Python sources never asks for."""
    import shutil
    import textwrap

    for function in (shutil.rmtree, shutil.which, textwrap.shorten, ast.literal_eval):
        doc_id = f"{function.__module__}.{function.__name__}"
        assert function.__doc__ is not None
        lines = [line.strip() for line in function.__doc__.strip().splitlines()]
        for line in filter(None, lines):
            assert line in str(corpus[doc_id].fields["text"]), (doc_id, line)


def test_the_order_is_that_of_ids_and_a_second_reading_is_identical(
    corpus: dict[str, Document],
) -> None:
    again = list(python_docs())
    assert [document.doc_id for document in again] == sorted(corpus)
    assert {document.doc_id: document for document in again} == corpus


def test_sources_are_parsed_and_never_imported() -> None:
    """Importing everything would open windows and a browser; a fresh process shows what came in."""
    code = (
        "import sys; from lsr.datasets.pydocs import python_docs; list(python_docs()); "
        "print(*({'turtle', 'antigravity', 'this', 'idlelib', 'tkinter', 'smtplib', 'mailbox'} "
        "& sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_package_publishes_what_it_takes_from_its_submodules(tmp_path: Path) -> None:
    found = library(
        tmp_path,
        {
            "pack/__init__.py": "from .impl import Tool\nfrom ._hidden import *\n",
            "pack/impl.py": (
                'class Tool:\n    """A tool."""\n    def use(self, how):\n        """Use it."""\n'
                'class Other:\n    """Not re-exported."""\n'
            ),
            "pack/_hidden.py": (
                '__all__ = ["helper"]\n'
                'def helper(x: int = 3):\n    """Help."""\n'
                'def inner():\n    """Stays hidden."""\n'
            ),
        },
    )
    assert list(found) == ["pack.Tool", "pack.Tool.use", "pack.helper", "pack.impl.Other"]
    assert found["pack.helper"].fields["text"] == "helper(x: int=3)\nHelp."
    assert found["pack.Tool.use"].fields == {
        "title": "pack.Tool.use",
        "text": "use(how)\nUse it.",
        "module": "pack",
        "kind": "method",
    }


def test_what_only_a_private_base_documents_is_told_of_its_public_subclass(tmp_path: Path) -> None:
    found = library(
        tmp_path,
        {
            "shapes.py": (
                "class _Base:\n"
                '    def area(self):\n        """Size."""\n'
                '    def name(self):\n        """Of the base."""\n'
                "class Circle(_Base):\n"
                "    def area(self):\n        return 3\n"
                '    def name(self):\n        """Circle."""\n'
                "class Disc(Circle):\n    pass\n"
            )
        },
    )
    texts = {doc_id: document.fields["text"] for doc_id, document in found.items()}
    assert texts == {
        "shapes.Circle.area": "area()\nSize.",
        "shapes.Circle.name": "name()\nCircle.",
    }


def test_a_class_carries_the_text_of_its_constructor(tmp_path: Path) -> None:
    found = library(
        tmp_path,
        {
            "pool.py": (
                "class ThreadPool:\n"
                '    """Runs calls."""\n'
                "    def __init__(self, size, *, name=None):\n"
                '        """Make `size` threads."""\n'
                "    @property\n"
                '    def load(self):\n        """How busy."""\n'
            )
        },
    )
    assert found["pool.ThreadPool"].fields["title"] == "pool.ThreadPool (Thread Pool)"
    assert found["pool.ThreadPool"].fields["text"] == (
        "ThreadPool(size, *, name=None)\nRuns calls.\n\nMake `size` threads."
    )
    assert found["pool.ThreadPool.load"].fields["kind"] == "property"
    assert found["pool.ThreadPool.load"].fields["text"] == "load\nHow busy."


def test_files_that_do_not_parse_and_tests_are_passed_over(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = library(
            tmp_path,
            {
                "broken.py": "def (:\n",
                "latin.py": "x = '\\d'\ndef odd():\n    '''Odd.'''\n",
                "test/test_a.py": '"""A test."""\n',
                "pack/tests/__init__.py": '"""Tests."""\n',
                "site-packages/other.py": '"""Not of the library."""\n',
            },
        )
        (tmp_path / "bytes.py").write_bytes(b"\xff\x00\x01")
        again = {document.doc_id for document in python_docs(stdlib=tmp_path, c_modules=())}
    assert list(found) == ["latin.odd"]
    assert again == {"latin.odd"}


def test_mutual_base_classes_end(tmp_path: Path) -> None:
    """Names may be rebound, so the classes that an `ast` sees can be each other's base."""
    found = library(
        tmp_path,
        {
            "loop.py": 'class _A(_B):\n    def f(self):\n        """F."""\nclass _B(_A): pass\n'
            "class C(_B): pass\n"
        },
    )
    assert list(found) == ["loop.C.f"]


def test_a_python_without_source_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no Python source of a standard library"):
        next(python_docs(stdlib=tmp_path))


def test_modules_that_this_platform_lacks_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text('"""One."""\n')
    found = list(python_docs(stdlib=tmp_path, c_modules=("no_such_module", "math")))
    doc_ids = {document.doc_id for document in found}
    assert {"one", "math", "math.gcd"} <= doc_ids


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_left_as_it_was(tmp_path: Path, enabled: bool) -> None:
    """Parsing pauses the collector, which belongs to the whole process."""
    (tmp_path / "one.py").write_text('"""One."""\n')
    if not enabled:
        gc.disable()
    try:
        list(python_docs(stdlib=tmp_path, c_modules=()))
        assert gc.isenabled() is enabled
    finally:
        gc.enable()

"""What the documents of a corpus hold, counted while somebody reads them for something else.

A corpus is read once before it is encoded, so that a wrong name of a field is told before hours of
work and not found out by searches that find nothing.
"""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DatasetError
from . import _printing as out

if TYPE_CHECKING:
    from ..datasets import Dataset, ShardFolder, TextFolder
    from ..types import Json

_MOST_NAMES = 10_000
"""Names of fields that are counted; more are data in the place of names, and cost memory."""
_SHOWN = 12


@dataclass
class _Unfit:
    """What a field holds that is no string: of so many documents, and in the first of them."""

    doc_id: str
    kind: str
    mended: str | None
    """The filter of jq that makes strings of such values."""
    n_documents: int = 1


@dataclass
class Census:
    """Counts over the documents that `texts` has streamed."""

    names_fields: bool = True
    """Whether the verb has --text-field, to be told of it."""
    n_documents: int = 0
    n_with_text: int = 0
    with_field: Counter[str] = field(default_factory=Counter)
    """Documents that have a field, whatever its value unless that is null."""
    with_words: Counter[str] = field(default_factory=Counter)
    """Documents whose field is a string that is not blank."""
    unfit: dict[str, _Unfit] = field(default_factory=dict)
    """Fields that are neither a string nor null somewhere, which no encoder reads."""

    def texts(self, source: "Dataset", text_fields: Sequence[str]) -> Iterator[str]:
        """The text of each document, counted as it goes by."""
        for document in source.documents():
            text = document.text(text_fields)
            self.n_documents += 1
            self.n_with_text += bool(text.strip())
            for name, value in document.fields.items():
                if value is not None and (
                    name in self.with_field
                    or len(self.with_field) < _MOST_NAMES
                    or name in text_fields
                ):
                    self._count(document.doc_id, name, value)
            yield text

    def _count(self, doc_id: str, name: str, value: "Json") -> None:
        self.with_field[name] += 1
        if isinstance(value, str):
            self.with_words[name] += bool(value.strip())
        elif name in self.unfit:
            self.unfit[name].n_documents += 1
        else:
            from ..datasets.records import kind_of

            self.unfit[name] = _Unfit(doc_id, kind_of(value), _mended(value))

    def require_text(self, source: "Dataset", text_fields: Sequence[str]) -> None:
        """Raises `DatasetError` for a corpus without documents, or whose documents have no text, or
        hold anything but strings under the fields that are read.
        """
        place = source.name if source.path is None else str(source.path)
        if not self.n_documents:
            raise DatasetError(f"{place}: the corpus has no documents; wanted at least one")
        if self.n_with_text:
            self.require_strings(source, text_fields)
            return
        wrong = next((name for name in text_fields if name in self.unfit), None)
        documents = out.counted(self.n_documents, "document")
        names = [name for name, _ in self.with_field.most_common(_SHOWN)]
        keys = [
            f"{name} ({self.unfit[name].kind})" if name in self.unfit else name for name in names
        ]
        told = (
            f"{place}: none of {documents} has any text; wanted a string under "
            f"{' or '.join(map(repr, text_fields))}, got the keys {', '.join(keys) or '(none)'} "
            "beside the id. "
        )
        body, ways = text_fields[-1], []
        readable, mendable = self._readable(text_fields), self._mendable(text_fields)
        if wrong is not None:
            ways.append(f"{self._unfit(wrong)}. {self._mend(wrong, wrong)}")
            if readable:
                ways.append(f"Or let `lsr index` read others by --text-field {readable[0]}")
        elif readable:
            name = readable[0]
            renamed = shlex.quote(f"{_path(body)} = {_path(name)}")
            ways.append(
                f"Let `lsr index` read it by --text-field {name}, or rename what is to be searched,"
                f" for example with jq -c {renamed}"
            )
        elif mendable:
            ways.append(self._mend(mendable[0], body))
        else:
            ways.append(f"Write what is to be searched under {body!r}")
        raise DatasetError(told + ". ".join(ways))

    def require_strings(self, source: "Dataset", text_fields: Sequence[str]) -> None:
        """Raises `DatasetError` where the fields that are read hold anything but strings."""
        wrong = next((name for name in text_fields if name in self.unfit), None)
        if wrong is None:
            return
        place = source.name if source.path is None else str(source.path)
        documents = out.counted(self.n_documents, "document")
        raise DatasetError(
            f"{place}: {self._unfit(wrong)}, wanted a string, as in "
            f"{self.unfit[wrong].n_documents:,} of {documents}; only strings are read. "
            f"{self._mend(wrong, wrong)}"
        )

    def note_unread(self, text_fields: Sequence[str]) -> None:
        """Tell where documents have no text but a title, and others that might be it."""
        body = text_fields[-1]
        if len(text_fields) < 2 or self.with_field[body]:
            return
        hints = []
        if others := self._readable(text_fields):
            one = others[0] if len(others) == 1 else "NAME"
            hints.append(
                f"they have {', '.join(others)}: --text-field {text_fields[0]} --text-field {one}"
            )
        if mendable := self._mendable(text_fields):
            name = mendable[0]
            hints.append(f"{self._unfit(name)}, which is not read. {self._mend(name, body)}")
        if hints:
            documents = out.counted(self.n_documents, "document")
            alone = " and ".join(text_fields[:-1])
            out.note(
                "field",
                f"{body}: in 0 of {documents}, so {alone} alone is read; {'; '.join(hints)}",
            )

    def _readable(self, text_fields: Sequence[str]) -> list[str]:
        """Other fields that would be read if they were named, the most frequent first."""
        return [
            name
            for name, _ in self.with_field.most_common(_SHOWN)
            if name not in text_fields and self.with_words[name] and name not in self.unfit
        ]

    def _mendable(self, text_fields: Sequence[str]) -> list[str]:
        """Other fields that may be text once they are strings, the most frequent first."""
        numbers = ("an integer", "a fraction", "true or false")
        return [
            name
            for name, _ in self.with_field.most_common(_SHOWN)
            if name not in text_fields
            and (unfit := self.unfit.get(name)) is not None
            and unfit.mended is not None
            and (unfit.kind not in numbers or self.with_words[name])
        ]

    def _unfit(self, name: str) -> str:
        return f"{name!r} of document {self.unfit[name].doc_id!r} is {self.unfit[name].kind}"

    def _mend(self, name: str, target: str) -> str:
        """What to do to have strings of the field `name` under `target`."""
        mended = self.unfit[name].mended
        if mended is None:
            other = ", or name other fields with --text-field" if self.names_fields else ""
            return f"Write a string under {target!r}{other}"
        whole = (
            f"{_path(name)} |= {mended}"
            if name == target
            else f"{_path(target)} = ({_path(name)} | {mended})"
        )
        return f"Make a string of {name!r}, for example with jq -c {shlex.quote(whole)}"

    def note_absent(self, fields: Sequence[str]) -> None:
        """Tell of each of the `fields` that were named and that no document has."""
        for name in fields:
            if not self.with_field[name]:
                documents = out.counted(self.n_documents, "document")
                had = ", ".join(found for found, _ in self.with_field.most_common(_SHOWN))
                out.note("field", f"{name}: in 0 of {documents}; they have {had or 'no fields'}")


def note_read(source: "ShardFolder | TextFolder") -> None:
    """Tell what of a folder is read as a corpus, and what is not."""
    left = ""
    if source.others:
        are = "is" if len(source.others) == 1 else "are"
        first = out.printable(str(source.others[0].relative_to(source.path)))
        left = f"; {out.counted(len(source.others), 'other file')} {are} left out, such as {first}"
    what = out.counted(len(source.files), source.what)
    out.note("reads", f"{source.path}: {what}{left}")


def _path(name: str) -> str:
    """A field, as jq names it.

    >>> _path("abstract"), _path("short text")
    ('.abstract', '."short text"')
    """
    return f".{name}" if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) else f".{json.dumps(name)}"


def _mended(value: "Json") -> str | None:
    """The filter of jq that makes a string of values such as this, and leaves strings as they are;
    None where there is nothing in it to read.

    >>> _mended(["one", "two"])
    'if type == "array" then join(" ") else . end'
    >>> _mended({"n": 1, "abstract": "words"})
    'if type == "object" then .abstract else . end'
    """
    kinds = {list: "array", dict: "object", bool: "boolean", int: "number", float: "number"}
    inner = _stringing(value)
    if inner is None:
        return None
    return f'if type == "{kinds[type(value)]}" then {inner} else . end'


def _stringing(value: "Json") -> str | None:
    """The filter of jq that makes a string of this value, None where it has no words."""
    if isinstance(value, str):
        return "."
    if isinstance(value, list):
        if not value or not isinstance(value[0], list | dict):
            return 'join(" ")'
        inner = _stringing(value[0])
        return None if inner is None else f'map({inner}) | join(" ")'
    if isinstance(value, dict):
        # The longest string, which is a text sooner than a language is; else what lies deeper.
        members = sorted(
            value.items(), key=lambda pair: -len(pair[1]) if isinstance(pair[1], str) else 0
        )
        for name, member in members:
            if isinstance(member, str | list | dict) and (inner := _stringing(member)) is not None:
                return _path(name) if inner == "." else f"{_path(name)} | {inner}"
        return None
    return None if value is None else "tostring"

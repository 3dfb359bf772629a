"""What the documents of a corpus hold, counted while somebody reads them for something else.

A corpus is read once before it is encoded, so that a wrong name of a field is told before hours of
work and not found out by searches that find nothing.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import DatasetError
from . import _printing as out

if TYPE_CHECKING:
    from ..datasets import Dataset, ShardFolder, TextFolder

_MOST_NAMES = 10_000
"""Names of fields that are counted; more are data in the place of names, and cost memory."""
_SHOWN = 12


@dataclass
class Census:
    """Counts over the documents that `texts` has streamed."""

    n_documents: int = 0
    n_with_text: int = 0
    with_field: Counter[str] = field(default_factory=Counter)
    """Documents that have a field, whatever its value unless that is null."""

    def texts(self, source: "Dataset", text_fields: Sequence[str]) -> Iterator[str]:
        """The text of each document, counted as it goes by."""
        for document in source.documents():
            text = document.text(text_fields)
            self.n_documents += 1
            self.n_with_text += bool(text.strip())
            for name, value in document.fields.items():
                if value is not None and (
                    name in self.with_field or len(self.with_field) < _MOST_NAMES
                ):
                    self.with_field[name] += 1
            yield text

    def require_text(self, source: "Dataset", text_fields: Sequence[str]) -> None:
        """Raises `DatasetError` for a corpus without documents, or whose documents have no text."""
        place = source.name if source.path is None else str(source.path)
        if not self.n_documents:
            raise DatasetError(f"{place}: the corpus has no documents; wanted at least one")
        if self.n_with_text:
            return
        names = [name for name, _ in self.with_field.most_common(_SHOWN)]
        wanted = " or ".join(map(repr, text_fields))
        name = next((name for name in names if name not in text_fields), "body")
        raise DatasetError(
            f"{place}: none of {out.counted(self.n_documents, 'document')} has any text; wanted a "
            f"string under {wanted}, got the keys {', '.join(names) or '(none)'} beside the id. "
            f"Let `lsr index` read it by --text-field {name}, or rename what is to be searched, for"
            f" example with jq -c '.{text_fields[-1]} = .{name}'"
        )

    def note_unread(self, text_fields: Sequence[str]) -> None:
        """Tell where documents have no text but a title, and others that might be it."""
        body = text_fields[-1]
        others = [
            name for name, _ in self.with_field.most_common(_SHOWN) if name not in text_fields
        ]
        if len(text_fields) > 1 and not self.with_field[body] and others:
            documents = out.counted(self.n_documents, "document")
            one = others[0] if len(others) == 1 else "NAME"
            out.note(
                "field",
                f"{body}: in 0 of {documents}, so {' and '.join(text_fields[:-1])} alone is read; "
                f"they have {', '.join(others)}: --text-field {text_fields[0]} --text-field {one}",
            )

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

"""Documents and queries from JSON-lines, TSV, CSV and Parquet files, streaming."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ..errors import DatasetError
from ..files import decode, read_csv, read_lines
from ..parquet import SUFFIX as PARQUET_SUFFIX
from ..parquet import parquet_rows
from ..types import MAX_ID_BYTES, Document, Query
from ..whole_numbers import beyond_64_bits

ID_NAMES = ("_id", "id", "doc_id", "docid", "docno")
"""Names of the id, the first that is present wins; the others remain ordinary fields."""

QUERY_ID_NAMES = ("_id", "id", "query_id", "query-id", "qid")

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TSV_SUFFIXES = (".tsv", ".txt")
CSV_SUFFIX = ".csv"
COMPRESSED = (".gz", ".zst")
SUFFIXES = (
    f"{', '.join(JSON_SUFFIXES)} (JSON lines), {' or '.join(TSV_SUFFIXES)} (id<TAB>text), "
    f"{CSV_SUFFIX} (a header, then rows), {PARQUET_SUFFIX}"
)
"""For people: what a file of documents or queries may be called; all but the last maybe compressed.
"""

_TEXT_FIELDS = ("title", "text")
_ID_LIKE = re.compile(r"[a-z]*[ _-]?(?:id|no|number)|topic")
_TEXT_LIKE = {"text", "title", "body", "content", "contents", "passage", "query", "question"}
"""What columns are called in the headers of others."""


def record_format(path: Path) -> str | None:
    """'json', 'tsv', 'csv', 'parquet' or None by the file's name, seen through .gz and .zst."""
    if path.suffix == PARQUET_SUFFIX:  # which compresses inside
        return "parquet"
    name = Path(path.stem) if path.suffix in COMPRESSED else path
    if name.suffix in JSON_SUFFIXES:
        return "json"
    if name.suffix == CSV_SUFFIX:
        return "csv"
    return "tsv" if name.suffix in TSV_SUFFIXES else None


def read_documents(path: str | Path) -> Iterator[Document]:
    """Stream the documents of a .jsonl, .tsv or .csv (also .gz, .zst) or .parquet file.

    JSON: one object a line, its id a string or integer under one of `ID_NAMES`, all else a field.
    TSV: `id<TAB>text`, or a first line that names the columns. CSV: a header that names the
    columns, one of them the id; cells may be quoted and hold line ends. Parquet: columns by name,
    one of them the id (extra `parquet`). An empty file holds none. Repeated ids are not looked for:
    the index, which must keep ids anyway, refuses them.
    """
    path = Path(path)
    for number, row in _rows(path, ID_NAMES):
        doc_id = _take_id(path, number, row, ID_NAMES)
        for name in _TEXT_FIELDS:
            value = row.get(name)
            if value is not None and not isinstance(value, str):
                raise DatasetError(
                    f"{path}:{number}: {name!r} of document {doc_id!r} is {kind_of(value)}, wanted "
                    "a string; only strings are searched"
                )
        yield Document(doc_id, row)


def read_queries(path: str | Path) -> Iterator[Query]:
    """Stream the queries of a .jsonl (`_id` or `id`, `text`) or .tsv (`id<TAB>text`) file, or of
    the others of `read_documents`.
    """
    path = Path(path)
    for number, row in _rows(path, QUERY_ID_NAMES):
        query_id = _take_id(path, number, row, QUERY_ID_NAMES)
        text = row.get("text", row.get("query"))
        if not isinstance(text, str):
            got = "nothing" if text is None else kind_of(text)
            raise DatasetError(
                f"{path}:{number}: the text of query {query_id!r} is {got}, wanted a string "
                "under 'text'"
            )
        yield Query(query_id, text)


def lines_of(path: Path, doc_id: str) -> list[int]:
    """The lines, or rows, whose document has this id."""
    return [
        number
        for number, row in _rows(path, ID_NAMES)
        if _take_id(path, number, row, ID_NAMES) == doc_id
    ]


def _rows(path: Path, id_names: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    match record_format(path):
        case "json":
            yield from _json_rows(path)
        case "tsv":
            yield from _tsv_rows(path, id_names)
        case "csv":
            yield from _csv_rows(path, id_names)
        case "parquet":
            yield from parquet_rows(path, needed=(*id_names, *_TEXT_FIELDS))
        case _:
            raise DatasetError(
                f"{path}: wanted a name ending in {SUFFIXES}; then maybe {' or '.join(COMPRESSED)}"
            )


_A_LIST = (
    "{path}:1: the file starts a JSON list, wanted one object a line; convert it with jq -c '.[]'"
)


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in read_lines(path):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            decode(path, number, line)  # the more precise complaint, where it is one
            if number == 1 and line.lstrip().startswith(b"["):
                raise DatasetError(_A_LIST.format(path=path)) from error
            hint = "; if objects span lines, convert it with jq -c ." if number == 1 else ""
            raise DatasetError(
                f"{path}:{number}: not JSON ({error.msg}, column {error.colno}), wanted one object "
                f"a line{hint}"
            ) from error
        if number == 1 and isinstance(row, list):
            raise DatasetError(_A_LIST.format(path=path))
        if not isinstance(row, dict):
            raise DatasetError(
                f"{path}:{number}: got {kind_of(row)}, wanted a JSON object such as "
                '{"_id": "d1", "title": "...", "text": "..."}'
            )
        if digits := beyond_64_bits(row, line):
            raise DatasetError(
                f"{path}:{number}: the whole number {digits} has more than 64 bits; write it as a "
                "string"
            )
        yield number, row


def _tsv_rows(path: Path, id_names: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] | None = None
    for number, line in read_lines(path):
        cells = decode(path, number, line).split("\t")
        if columns is None:
            if any(name in cells for name in id_names) or _names_columns(cells):
                columns = cells
                _check_header(path, number, columns, id_names)
                continue
            columns = [id_names[0], "text"]
        if len(cells) != len(columns):
            raise DatasetError(
                f"{path}:{number}: got {len(cells)} columns, wanted {len(columns)} "
                f"({'<TAB>'.join(columns)}); a first line may name the columns, one of them "
                f"{' or '.join(id_names)}"
            )
        yield number, dict(zip(columns, cells, strict=True))


def _csv_rows(path: Path, id_names: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    columns: list[str] = []
    for number, cells in read_csv(path):
        if not columns:
            columns = cells
            _check_header(path, number, columns, id_names)
            continue
        if len(cells) != len(columns):
            raise DatasetError(
                f"{path}:{number}: got {len(cells)} cells, wanted {len(columns)}, as the header "
                f"names: {', '.join(columns)}; a cell that holds a comma or a line end is quoted"
            )
        row = dict(zip(columns, cells, strict=True))
        row.pop("", None)  # a column without a name, as row numbers of tables are written
        yield number, row


def _names_columns(cells: list[str]) -> bool:
    """Whether a first line of TSV is a header, although no column is called as an id must be."""
    first, *others = (cell.strip().lower() for cell in cells)
    return bool(_ID_LIKE.fullmatch(first)) and any(cell in _TEXT_LIKE for cell in others)


def _check_header(path: Path, number: int, columns: list[str], id_names: tuple[str, ...]) -> None:
    named = [name for name in columns if name]
    if not any(name in named for name in id_names):
        parted = "" if len(columns) > 1 else ", and commas between the columns"
        raise DatasetError(
            f"{path}:{number}: the header names {', '.join(named)}; wanted a column "
            f"{' or '.join(id_names)} among them, the id of each row{parted}"
        )
    if len(set(named)) < len(named):
        raise DatasetError(f"{path}:{number}: the header names a column twice: {columns}")


def _take_id(path: Path, number: int, row: dict[str, Any], names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise DatasetError(
            f"{path}:{number}: no id, wanted a string or integer under {' or '.join(names)}; got "
            f"the keys {', '.join(sorted(row)) or '(none)'}"
        )
    value = row.pop(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        got = "an empty string" if value == "" else kind_of(value)
        raise DatasetError(
            f"{path}:{number}: {name!r} is {got}, wanted a non-empty string or integer"
        )
    n_bytes = len(value.encode("utf-8"))
    if n_bytes > MAX_ID_BYTES:
        raise DatasetError(
            f"{path}:{number}: {name!r} has {n_bytes:,} bytes, wanted at most {MAX_ID_BYTES:,}: "
            f"{value[:40]!r}..."
        )
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, in words.

    >>> kind_of(5), kind_of(None)
    ('an integer', 'null')
    """
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "an integer",
        float: "a fraction",
        type(None): "null",
    }
    return names[type(value)]

"""Rows of Parquet files, as the hub keeps its data sets: values as JSON would have held them."""

import logging
import math
import os
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from .errors import DatasetError, imports_of

log = logging.getLogger("lsr.datasets")

SUFFIX = ".parquet"
_BATCH = 1024
"""Rows turned into Python objects at a time: some megabytes of texts."""
_BUFFER = 1 << 20
"""Bytes of a column read at a time; without it a row group is read whole, and one may be a GB."""
_PANDAS = "__index_level_"
"""What a column is called in which pandas keeps the numbers of rows."""


def parquet_rows(
    path: Path, *, needed: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, its values by column), streaming; what is null is left out.

    Dates and times are ISO 8601, in UTC where no zone is told; decimals are fractions. Columns that
    JSON cannot hold (images, durations) are left out, and told once. Raises `DatasetError` for a
    file that is missing or damaged, or where such a column is `needed`, `MissingExtra` without
    pyarrow.
    """
    with imports_of("reading Parquet", extra="parquet", package="pyarrow"):
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            columns = [column.name for column in file.schema_arrow if not _is_raw(column.type)]
            left_out = tuple(n for n in file.schema_arrow.names if n not in columns)
            _check_left_out(path, left_out, needed)
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _as_json(row)
    except (pa.ArrowException, OSError) as error:
        after = f" after row {number}" if number else ""
        raise DatasetError(
            f"{path}: cannot be read as Parquet{after} ({_said(error)}); wanted a whole, "
            "readable file"
        ) from error


def _is_raw(kind: Any) -> bool:
    """Whether values of an Arrow type, or parts of them, are nothing that JSON has."""
    import pyarrow as pa

    raw = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    if any(test(kind) for test in (*raw, pa.types.is_binary_view, pa.types.is_duration)):
        return True
    return any(_is_raw(kind.field(at).type) for at in range(kind.num_fields))


def _check_left_out(path: Path, columns: tuple[str, ...], needed: Collection[str]) -> None:
    for name in columns:
        if name in needed:
            raise DatasetError(
                f"{path}: column {name!r} holds bytes, wanted strings; write it as a string"
            )
    if columns:
        _tell(columns)


@cache
def _tell(columns: tuple[str, ...]) -> None:
    """Once for all files of a corpus."""
    log.warning("left out   %s: bytes, or what else JSON has not", ", ".join(columns))


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    found = {name: _plain(value) for name, value in row.items() if not name.startswith(_PANDAS)}
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value as JSON has it; pandas writes NaN where it means null."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return _plain(float(value))
        case list() | tuple():
            return [_plain(part) for part in value]
        case dict():
            return {str(name): _plain(part) for name, part in value.items()}
    raise AssertionError(f"{type(value).__name__} of a column that was not left out")


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # its own text repeats path and number
    return str(error).partition("\n")[0].rstrip(".")

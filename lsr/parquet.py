"""Rows of Parquet files, as the hub keeps its data sets: values as JSON would have held them."""

import math
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from .errors import DatasetError, imports_of

SUFFIX = ".parquet"
_BATCH = 1024
"""Rows turned into Python objects at a time: some megabytes of texts."""
_BUFFER = 1 << 20
"""Bytes of a column read at a time; without it a row group is read whole, and one may be a GB."""
_PANDAS = "__index_level_"
"""What a column is called in which pandas keeps the numbers of rows."""


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, its values by column), streaming; what is null is left out.

    Dates and times are ISO 8601, in UTC where no zone is told; decimals are fractions. Raises
    `DatasetError` for a file that is missing, damaged or has columns of bytes, `MissingExtra`
    without pyarrow.
    """
    with imports_of("reading Parquet", extra="parquet", package="pyarrow"):
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    number = 0
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _as_json(path, number, row)
    except (pa.ArrowException, OSError) as error:
        after = f" after row {number}" if number else ""
        raise DatasetError(
            f"{path}: cannot be read as Parquet{after} ({_said(error)}); wanted a whole, "
            "readable file"
        ) from error


def _as_json(path: Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, given in row.items():
        try:
            value = _plain(given)
        except TypeError:
            raise DatasetError(
                f"{path}:{number}: {name!r} holds {type(given).__name__}, wanted strings, numbers, "
                "dates, lists or objects; write the file without this column"
            ) from None
        if value is not None and not name.startswith(_PANDAS):
            found[name] = value
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it; pandas writes NaN where it means null. Raises `TypeError`."""
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
    raise TypeError


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)  # its own text repeats path and number
    return str(error).partition("\n")[0].rstrip(".")

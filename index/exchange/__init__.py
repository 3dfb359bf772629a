"""Our vectors in other engines, and theirs here.

records.py    an index as a stream of rows
formats/      how each engine wants rows, what it must be told first, and how it is asked
ciff.py       the common index file format of Lucene, PISA, BMP and others
writing.py    `export_index`: a folder that an engine is loaded from
reading.py    vectors of other engines' files as an index
"""

from .formats import FORMATS
from .records import Rows, Weights, rows_of
from .writing import ExportReport, export_index

__all__ = ["FORMATS", "ExportReport", "Rows", "Weights", "export_index", "rows_of"]

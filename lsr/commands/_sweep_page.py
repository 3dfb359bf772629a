"""The page of `lsr sweep`: the figure with a name on every dot, in one file that loads nothing.

sweep_page.html holds markup, style and script; the results are put into it as JSON.
"""

from pathlib import Path
from typing import Any

import orjson

from ..files import atomic_write

TEMPLATE = Path(__file__).with_name("sweep_page.html")
_PLACE = b"{{results}}"


def write_page(path: Path, report: dict[str, Any]) -> None:
    """Write the page of a report (`_sweep_report.as_report`)."""
    data = orjson.dumps(report, option=orjson.OPT_SERIALIZE_NUMPY)
    # Inside <script> only "</script" and "<!--" mean something; no < is left of either.
    data = data.replace(b"<", b"\\u003c")
    template = TEMPLATE.read_bytes()
    assert template.count(_PLACE) == 1, "the template has one place for results"
    with atomic_write(path) as file:
        file.write(template.replace(_PLACE, data))

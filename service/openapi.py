"""The committed description of the API, so that its changes show in review.

Write `service/openapi.json` anew with `python -m service.openapi`.
"""

from pathlib import Path

import orjson

from .app import create_app
from .settings import Settings

SNAPSHOT = Path(__file__).resolve().parent / "openapi.json"


def openapi_json() -> bytes:
    """The OpenAPI document of this release, with sorted keys."""
    document = create_app(Settings({})).openapi()
    return orjson.dumps(
        document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    )


if __name__ == "__main__":
    SNAPSHOT.write_bytes(openapi_json())
    print(f"wrote      {SNAPSHOT.name}")

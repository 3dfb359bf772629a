"""`lsr trace`: which words gave the documents of an index their expansion terms."""

from pathlib import Path

import click

from . import _completing as complete
from . import _printing as out
from ._tracing import require_tracing

EXAMPLES = """\b
Examples:
  lsr index scifact scifact.index --encoder runs/encoder
  lsr trace scifact.index
"""


@click.command(epilog=EXAMPLES)
@click.argument("index", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    metavar="FOLDER|NAME",
    shell_complete=complete.encoders,
    help="The whole encoder, where the one that built INDEX lies elsewhere now.",
)
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def trace(*, index: Path, encoder: str | None, json: bool) -> None:
    """Keep which words gave each document of INDEX its expansion terms, for highlights.

    Its network reads every document that was not traced yet a second time; vectors and searches
    stay as they are. What was interrupted goes on when the command is given again.
    """
    from index import Index, as_built, check_same_space, trace_all, whole_encoder

    from ..encoders import load_encoder
    from ..errors import EncoderError

    with Index.open(index) as opened:
        folder = encoder or whole_encoder(opened.encoder)
        if folder is None:
            built = opened.encoder
            if built is None or built.path is None:
                raise EncoderError(
                    f"{index} knows no folder of the encoder that built it; where that has a "
                    "network, name its folder with --encoder. BM25 has none: its terms are words"
                )
            raise EncoderError(
                f"{index}: the encoder that built it is not at {built.path}; name its folder with "
                "--encoder"
            )
        whole = require_tracing(as_built(opened, load_encoder(folder)))
        check_same_space(opened, whole)
        n_traced = trace_all(opened, whole)
    if json:
        out.as_json({"index": str(index), "n_traced": n_traced})
        return
    out.fact("traced", f"{out.counted(n_traced, 'text')}: which words gave expansion terms")
    out.next_step("lsr", "serve", str(index))

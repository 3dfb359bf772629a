"""`lsr onnx`: an encoder that needs no torch."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out

if TYPE_CHECKING:
    from lsr.encoders.onnx_side import OnnxPrecision

EXAMPLES = """\b
Examples:
  lsr onnx runs/encoder runs/encoder-int8 --int8
  lsr onnx runs/encoder runs/encoder-int8 --int8 --texts scifact
  lsr index scifact scifact.index --encoder runs/encoder-int8
"""

SAMPLE = 256


@click.command(epilog=EXAMPLES)
@click.argument("encoder", shell_complete=complete.encoders)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--int8", is_flag=True, help="Compute in 8 bits: a quarter as big.")
@click.option("--fp16", is_flag=True, help="Keep weights in 16 bits.")
@click.option(
    "--texts",
    metavar="CORPUS",
    default="python-docs",
    show_default=True,
    help=f"Whose first {SAMPLE} documents tell ranges and differences.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing encoder.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def onnx(
    *,
    encoder: str,
    output: Path,
    int8: bool,
    fp16: bool,
    texts: str,
    overwrite: bool,
    json: bool,
) -> None:
    """Write ENCODER as ONNX graphs into the folder OUTPUT, an encoder that needs no torch.

    It declares the space of ENCODER: an index built by either takes the queries of the other.
    Without --int8 and --fp16 it computes and keeps float32. Needs the extra `onnx`.
    """
    from ..datasets import load_dataset
    from ..encoders import load_encoder
    from ..encoders.onnx_export import export_onnx

    if int8 and fp16:
        raise UsageError("--int8 and --fp16 are two sizes of one graph; give one of them")
    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    loaded = load_encoder(encoder)
    documents = load_dataset(texts).documents()
    sample = [document.text(loaded.text_fields) for document in islice(documents, SAMPLE)]
    kept: OnnxPrecision = "int8" if int8 else "float16" if fp16 else "float32"
    measured = export_onnx(loaded, output, precision=kept, texts=sample)
    if json:
        out.as_json({"output": output, **asdict(measured)})
        return
    sizes = f"{out.size(measured.graph_bytes)} {kept}, {out.size(measured.parent_bytes)} before"
    out.fact("wrote", out.columns(str(output), sizes))
    out.fact(
        "measured",
        out.columns(
            out.counted(measured.texts, "document"),
            f"weights of {measured.mean_weight:.3f} on average differ by "
            f"{measured.mean_difference:.2g}, at most {measured.max_difference:.2g}; "
            f"{100 * measured.top_overlap:.1f} % of the 100 largest terms stay",
        ),
    )
    out.next_step("lsr", "index", "CORPUS", "NEW.index", "--encoder", str(output))

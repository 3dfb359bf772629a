"""`lsr thaw`: an ONNX encoder as one that trains."""

from pathlib import Path

import click

from ..errors import UsageError
from . import _completing as complete
from . import _printing as out

EXAMPLES = """\b
Examples:
  lsr thaw lsr-mini runs/thawed
  lsr train lsr-mini-again runs/mine --set 'model.backbone="runs/thawed/learned"'
  lsr average runs/mine runs/thawed/learned runs/mean
"""


@click.command(epilog=EXAMPLES)
@click.argument("encoder", shell_complete=complete.encoders)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace an existing encoder.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def thaw(*, encoder: str, output: Path, overwrite: bool, json: bool) -> None:
    """Write ENCODER, whose network is an ONNX graph, into OUTPUT with the network in torch.

    It has the weights of the graph, rounded as they are, and a space of its own: documents must be
    encoded again. Tables, words, prompts and the record of training stay. Needs the extras `train`
    and `onnx`; `lsr onnx` is the way back. `lsr adapt` thaws by itself.
    """
    from ..encoders import JoinedEncoder, load_encoder
    from ..encoders.joined import LEARNED
    from ..encoders.thawing import thaw as thawed

    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    frozen = load_encoder(encoder)
    if frozen.folder is not None and frozen.folder.resolve() == output.resolve():
        raise UsageError(
            f"{output} is the encoder itself; name another folder, so that the graph is kept"
        )
    thawed(frozen).save(output)
    made = load_encoder(output)
    if json:
        out.as_json({"output": output, "space": made.space, "n_terms": made.n_terms})
        return
    out.fact("wrote", out.columns(str(output), f"space {made.space}"))
    place = output / LEARNED if isinstance(made, JoinedEncoder) else output
    start = f'model.backbone="{place}"'
    out.next_step("lsr", "train", "RECIPE", "OUTPUT", "--set", start)

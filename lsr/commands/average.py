"""`lsr average`: one encoder of several trained from the same start."""

from pathlib import Path

import click

from ..errors import UsageError
from . import _printing as out

EXAMPLES = """\b
Examples:
  lsr average runs/science runs/questions runs/both
  lsr average runs/a runs/b runs/both --share 0.7 --share 0.3
  lsr evaluate scifact --encoder runs/both
"""


@click.command(epilog=EXAMPLES)
@click.argument("encoders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--share",
    "shares",
    type=click.FloatRange(min=0, min_open=True),
    multiple=True,
    help="Part of the mean, one for each encoder in their order. Default: alike",
)
@click.option("--name", help="What the encoder is called. Default: the name of OUTPUT")
@click.option("--overwrite", is_flag=True, help="Replace an existing encoder.")
@click.option("--json", "json", is_flag=True, help="Print one JSON object.")
def average(
    *,
    encoders: tuple[Path, ...],
    output: Path,
    shares: tuple[float, ...],
    name: str | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Write into OUTPUT the encoder whose weights are the means of those of ENCODERS.

    They must have been trained from the same start, network and head alike: then the mean is often
    better than each, most of all on texts that none saw; of unrelated ones it is noise.
    """
    from ..encoders.averaging import average as run_average

    if output.exists() and not overwrite:
        raise UsageError(f"{output} exists; choose another path, or replace it with --overwrite")
    if len(encoders) < 2:
        raise UsageError(f"got {len(encoders)} encoder; wanted 2 or more, and OUTPUT behind them")
    if shares and len(shares) != len(encoders):
        raise UsageError(f"got {len(shares)} --share for {len(encoders)} encoders; wanted one each")
    n_weights = run_average(
        encoders, output, shares or [1.0] * len(encoders), name=name or output.resolve().name
    )
    if json:
        out.as_json({"output": output, "encoders": list(encoders), "n_weights": n_weights})
        return
    out.fact("averaged", f"{n_weights:,} weights of {len(encoders)} encoders")
    out.fact("wrote", str(output))
    out.next_step("lsr", "evaluate", "DATASET", "--encoder", str(output))

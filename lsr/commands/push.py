"""`lsr push`: publish an encoder."""

import tempfile
from pathlib import Path
from typing import Any

import click
import orjson

from ..errors import UsageError
from ..shipped import encoder_place
from . import _printing as out

EXAMPLES = """\b
Examples:
  lsr evaluate scifact --encoder runs/mini --json > scifact.json
  lsr push runs/mini owner/mini --private --evaluation scifact.json
  lsr push runs/mini --to-folder /srv/encoders/mini
"""


@click.command(epilog=EXAMPLES)
@click.argument("encoder", type=click.Path(path_type=Path))
@click.argument("name", required=False)
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--to-folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write there what would be published, instead.",
)
@click.option(
    "--evaluation",
    "evaluations",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="What `lsr evaluate --json` printed, for the model card; may be given again.",
)
@click.option("--message", default="Publish encoder", show_default=True, help="Of the commit.")
def push(
    *,
    encoder: Path,
    name: str | None,
    private: bool,
    to_folder: Path | None,
    evaluations: tuple[Path, ...],
    message: str,
) -> None:
    """Publish the folder ENCODER on the hub as NAME (owner/name), with its model card.

    Only weights, JSON, text and pictures go out, in one commit, and only if the encoder loads.
    """
    from ..encoders import load_encoder
    from ..encoders.hub import copy_published, published_files, upload

    if (name is None) == (to_folder is None):
        raise UsageError("give either NAME (owner/name) or --to-folder FOLDER")
    if name is not None and name.count("/") != 1:
        raise UsageError(f"NAME = {name}; wanted owner/name")
    if private and name is None:
        raise UsageError("--private is about a repository; with --to-folder there is none")
    encoder = encoder_place(encoder)
    if not encoder.is_dir():
        raise UsageError(f"{encoder} is no folder; wanted the folder of an encoder")
    loaded = load_encoder(encoder)
    results = [_read(file) for file in evaluations]
    with tempfile.TemporaryDirectory() as parent:
        ready = Path(parent) / "encoder"
        copy_published(encoder, ready)
        if results:
            from training.card import attach_results

            attach_results(ready, results)
        load_encoder(ready)
        files = published_files(ready)
        size = out.size(sum(file.stat().st_size for file in files))
        out.fact("checked", out.columns(loaded.name, f"{out.counted(len(files), 'file')}, {size}"))
        if to_folder is not None:
            copy_published(ready, to_folder)
            out.fact("wrote", str(to_folder))
            out.next_step("lsr", "info", str(to_folder))
            return
        assert name is not None
        address = upload(ready, name, private=private, message=message)
    out.fact("published", address)
    out.next_step("lsr", "info", name)


def _read(file: Path) -> dict[str, Any]:
    try:
        row = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"{file} is not JSON ({error}); wanted what lsr evaluate --json printed"
        ) from error
    if not isinstance(row, dict):
        raise UsageError(f"{file}: wanted one JSON object, as lsr evaluate --json prints it")
    return row

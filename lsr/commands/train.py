"""`lsr train`: from a recipe to an encoder folder."""

from pathlib import Path

import click

from ..errors import MissingExtra, UsageError

EXAMPLES = """\b
Examples:
  lsr train recipe.toml runs/encoder
  lsr train smoke runs/smoke --set run.seed=2
  lsr train recipe.toml runs/encoder --fresh
"""


@click.command(epilog=EXAMPLES)
@click.argument("recipe")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--resume/--fresh",
    default=True,
    help="Go on from the last checkpoint in OUTPUT, or start anew. Default: resume",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replace a value of the recipe."
)
def train(*, recipe: str, output: Path, resume: bool, settings: tuple[str, ...]) -> None:
    """Train the encoder that RECIPE describes and save it in the folder OUTPUT.

    RECIPE is a .toml file, or the name of a recipe that is shipped. Needs the extra `train`.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("training", extra="train", package="torch") from error
    from training import load_recipe
    from training import train as run_training

    overrides = dict(_setting(text) for text in settings)
    run_training(load_recipe(recipe, overrides), output, resume=resume)


def _setting(text: str) -> tuple[str, object]:
    """`run.seed=2` with the value as TOML reads it; bare words are strings."""
    import tomllib

    key, sign, value = text.partition("=")
    if not key or not sign:
        raise UsageError(f"--set {text}: wanted KEY=VALUE, for example run.seed=2")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value

"""What no single field of [model.uhd] and [stage.ranking.window] can see."""

from pathlib import Path

from lsr.encoders.buckets import Buckets
from lsr.errors import EncoderError, RecipeError

from .sections import UHD, Model
from .stage_sections import RankingStage, Stages, Window


def check_uhd(model: Model, stage: Stages, uhd: UHD, file: Path) -> None:
    """Its terms are no words: what speaks of words or of a language-model head has no meaning."""
    try:
        Buckets(uhd.layers, uhd.dims, uhd.winners, binary=uhd.binary)
    except EncoderError as error:
        raise RecipeError(f"{file}: [model.uhd]: {error}.") from None
    refused = {
        f'model.kind = "{model.kind}", wanted "siamese"': model.kind != "siamese",
        "model.literal_residual = true": model.literal_residual,
        f'model.activation = "{model.activation}"': model.activation != "log1p",
        f'model.pooling = "{model.pooling}"': model.pooling != "max",
        "model.pool_special = false": not model.pool_special,
        "[model.decoder]": model.decoder is not None,
        "[model.lora]": model.lora is not None,
        "[stage.mlm]": stage.mlm is not None,
        "[stage.clm]": stage.clm is not None,
        "[stage.calibrate]": stage.calibrate is not None,
        'stage.ranking.sparsity.penalty = "idf-flops"': (
            stage.ranking.sparsity.penalty == "idf-flops"
        ),
    }
    for what, given in refused.items():
        if given:
            raise RecipeError(
                f"{file}: [model.uhd] with {what}: latent terms are no words and have no "
                "language-model head; leave one of them out."
            )
    if uhd.binary and stage.ranking.windows > 1:
        raise RecipeError(
            f"{file}: stage.ranking.windows = {stage.ranking.windows} with binary [model.uhd]: "
            "winners of several windows are all 1, so none of them would be told to grow; leave "
            "windows out."
        )
    if uhd.binary and model.max_active_terms is not None:
        raise RecipeError(
            f"{file}: model.max_active_terms = {model.max_active_terms} with binary [model.uhd]: "
            "no term is larger than another; lower model.uhd.winners instead."
        )


def check_window(ranking: RankingStage, window: Window, file: Path) -> None:
    """A window needs every term, and goes from coarse to fine."""
    where = f"{file}: stage.ranking.window"
    if ranking.sampled_terms:
        raise RecipeError(
            f"{where} with sampled_terms = {ranking.sampled_terms}: the largest terms of a text "
            "are known only where all are computed; leave one of them out."
        )
    for side in ("queries", "documents"):
        end, start = getattr(window, side), getattr(window, f"{side}_start")
        if start and not window.steps:
            raise RecipeError(
                f"{where}.{side}_start = {start} without steps; say in how many steps the window "
                "shrinks, for example steps = 1000."
            )
        if start and start < max(1, end):
            raise RecipeError(
                f"{where}.{side}_start = {start} is less than {side} = {end}; a window goes from "
                "coarse to fine."
            )
        if start and not end:
            raise RecipeError(
                f"{where}.{side}_start = {start} with {side} = 0, which is no window; leave it out."
            )

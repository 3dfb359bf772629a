"""What to change in a recipe whose vectors fall ill: its keys, with values that follow from it.

Nothing is advised that loading the recipe would refuse, or that would change nothing: latent terms
have no head to calibrate, a sample of terms no lengths, and a controller moves a weight by itself.
"""

from .health import Illness, Side
from .recipe import Recipe
from .stage_sections import ClmStage, MlmStage

_START = 1e-3
"""Of a penalty where there was none: what the named systems have with FLOPS, give or take five."""
_HEAD_STEPS = 200
"""Of a stage that warms a head up: what the small recipes take."""


def advice(illness: Illness, recipe: Recipe, side: Side = "documents") -> str:
    """What to change where `side` is ill."""
    ranking = recipe.stage.ranking
    rate = ranking.learning_rate
    match illness:
        case "not-finite":
            lora = recipe.model.lora
            free = recipe.run.bf16 and (lora is None or lora.quantize == "none")
            return (
                "set run.bf16 = false, " if free else ""
            ) + f"set stage.ranking.learning_rate = {rate / 10:g}"
        case "all-zero":
            parts = [_lighter(recipe, side), _calibrated(recipe)]
            if not (ranking.sparsity.anti_zero or ranking.sampled_terms):
                parts.append("set stage.ranking.sparsity.anti_zero = 1")
            return "; ".join(part for part in parts if part)
        case "all-on":
            start = _calibrated(recipe)
            heavier = _heavier(recipe, side)
            return f"{start}; if that is not enough, {heavier}" if start else heavier
        case "constant":
            changed = (
                f"set stage.ranking.learning_rate = {rate / 4:g} and "
                f"stage.ranking.batch = {2 * ranking.batch}"
            )
            head = _warmed_up(recipe)
            return f"{changed}; {head}" if head else changed
        case "stop-words":
            return _less_frequent(recipe)


def _lighter(recipe: Recipe, side: Side) -> str:
    ranking = recipe.stage.ranking
    weight, target = getattr(ranking.sparsity, side), getattr(ranking.controller, side)
    slower = f"stage.ranking.learning_rate = {ranking.learning_rate / 10:g}"
    if not weight:
        return f"set {slower}"
    ramp = max(2 * ranking.sparsity.ramp, ranking.steps // 3)
    eased = (
        f"stage.ranking.sparsity.{side} = {weight / 10:g} and stage.ranking.sparsity.ramp = {ramp}"
    )
    if target is None:
        return f"set {eased}"
    # The weight falls by itself once vectors are short: aim longer, so that it falls in time.
    longer = f"set stage.ranking.controller.{side} = {2 * target}"
    if weight <= ranking.controller.lowest:
        return f"{longer} and {slower}"
    return f"{longer} and let it start from {eased}"


def _heavier(recipe: Recipe, side: Side) -> str:
    ranking, uhd = recipe.stage.ranking, recipe.model.uhd
    if uhd is not None:
        return f"set model.uhd.winners = {[max(1, n // 2) for n in uhd.winners]}"
    weight = f"stage.ranking.sparsity.{side} = {10 * getattr(ranking.sparsity, side) or _START:g}"
    if getattr(ranking.controller, side) is None:
        return f"set {weight}"
    # A shorter aim changes nothing here: the weight already grows at its fastest.
    faster = min(1, 5 * ranking.controller.rate)
    return f"set stage.ranking.controller.rate = {faster:g} and let it start from {weight}"


def _less_frequent(recipe: Recipe) -> str:
    sparsity, target = recipe.stage.ranking.sparsity, recipe.stage.ranking.controller.documents
    if sparsity.penalty != "df-flops":
        needed = f" and stage.ranking.sparsity.documents = {_START:g}"
        return 'set stage.ranking.sparsity.penalty = "df-flops"' + (
            "" if sparsity.documents else needed
        )
    if target is not None:
        shorter = max(target // 2, sparsity.l0_threshold + 1)
        return f"set stage.ranking.controller.documents = {shorter}"
    return f"set stage.ranking.sparsity.documents = {3 * sparsity.documents or _START:g}"


def _calibrated(recipe: Recipe) -> str:
    if recipe.stage.calibrate is not None or recipe.model.uhd is not None:
        return ""
    return "add [stage.calibrate] active_terms = 256"


def _warmed_up(recipe: Recipe) -> str:
    stage = recipe.stage
    if stage.mlm is not None or stage.clm is not None or recipe.model.uhd is not None:
        return ""
    name, kind = ("clm", ClmStage) if recipe.model.decoder else ("mlm", MlmStage)
    longest = recipe.model.max_length
    length = f", max_length = {longest}" if kind(_HEAD_STEPS).max_length > longest else ""
    return f"a new head wants [stage.{name}] steps = {_HEAD_STEPS}{length} first"

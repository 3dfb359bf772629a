"""What no single key of [develop] can see: where its queries come from, and how they are judged."""

from pathlib import Path

from lsr.errors import RecipeError, UsageError

from .sections import Develop


def check_develop(develop: Develop, file: Path) -> None:
    """Raise `RecipeError` for a section that the first look would stumble over."""
    if bool(develop.dataset) == bool(develop.held_out):
        raise RecipeError(
            f"{file}: [develop] wants either dataset (a collection) or held_out (a share of the "
            f"training queries), got {'both' if develop.dataset else 'neither'}."
        )
    # Imported here: ir_measures is slow to import, and most recipes have no such section.
    from lsr.measures import check_measure

    try:
        check_measure(develop.measure)
    except UsageError as error:
        raise RecipeError(f"{file}: develop.measure: {error}.") from None

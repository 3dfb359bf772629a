"""Options that were given and would be ignored."""

from collections.abc import Iterable

import click
from click.core import ParameterSource

from ..errors import UsageError


def refuse_given(names: Iterable[str], why: str) -> None:
    """Raise `UsageError` for the first parameter of these that was given to the command at hand.

    `names` are those of the function; what is left at its default was not given.
    """
    context = click.get_current_context()
    for name in names:
        if is_given(context, name):
            (option,) = (one for one in context.command.params if one.name == name)
            raise UsageError(f"{why}; leave {option.opts[0]} out")


def is_given(context: click.Context, name: str) -> bool:
    """Whether the parameter was typed, or set by the environment."""
    return context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT)

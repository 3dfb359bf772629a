"""What a shell offers after <TAB>: the names that a verb takes, and files.

eval "$(_LSR_COMPLETE=bash_source lsr)"     # or zsh_source, fish_source
"""

import click
from click.shell_completion import CompletionItem

from ..shipped import ENCODERS


def datasets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Collections that are found without a network, and corpora."""
    from ..datasets import available

    return _names_and(available(), "file", incomplete)


def encoders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """BM25, what is shipped, and folders."""
    return _names_and(("bm25", *ENCODERS), "dir", incomplete)


def recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped recipes, and files."""
    from training.recipe import shipped_recipes

    return _names_and(shipped_recipes(), "file", incomplete)


def folders(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Indexes, for verbs that take a name or an address in place of one."""
    return _names_and((), "dir", incomplete)


def _names_and(
    names: "tuple[str, ...] | list[str]", kind: str, incomplete: str
) -> list[CompletionItem]:
    """The names that begin so; then what the shell itself finds of `kind`."""
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [*found, CompletionItem(incomplete, type=kind)]

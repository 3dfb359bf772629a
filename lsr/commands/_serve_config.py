"""The settings of `lsr serve`: defaults, a file over them, the command line over both."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import orjson

from . import _printing as out

if TYPE_CHECKING:
    from service.config import Config

Origin = Literal["default", "file", "flag"]


@dataclass(frozen=True)
class Chosen:
    """Settings, and where each value of them comes from, by section and key."""

    config: "Config"
    origins: Mapping[tuple[str, str], Origin]


def chosen(file: Path | None, flags: Mapping[tuple[str, str], Any]) -> Chosen:
    """Read the file, if there is one, and let `flags`, by section and key, win over it."""
    from service.config import Config, read_config

    defaults = Config()
    config = defaults if file is None else read_config(file)
    origins: dict[tuple[str, str], Origin] = {}
    for section, key, value in _values(config):
        default = getattr(getattr(defaults, section), key, None)
        origins[section, key] = "default" if value == default else "file"
    for (section, key), value in flags.items():
        part = getattr(config, section)
        pair = {key: value}
        whole: dict[str, Any] = {
            section: {**part, **pair} if isinstance(part, Mapping) else replace(part, **pair)
        }
        config = replace(config, **whole)
        origins[section, key] = "flag"
    return Chosen(config, origins)


def show(settings: Chosen, *, json: bool) -> None:
    """Print the settings as a file that means the same; where values come from as comments."""
    if json:
        out.as_json(asdict(settings.config))
        return
    section = ""
    for here, key, value in _values(settings.config):
        if here != section:
            click.echo(f"{'' if not section else chr(10)}[{here}]")
            section = here
        origin = settings.origins[here, key]
        note = "" if origin == "default" else f"  # {origin}"
        click.echo(f"# {key} =" if value is None else f"{key} = {_toml(value)}{note}")


def _values(config: "Config") -> list[tuple[str, str, Any]]:
    """(section, key, value) in the order of the file."""
    found: list[tuple[str, str, Any]] = []
    for spec in fields(config):
        part = getattr(config, spec.name)
        pairs = part.items() if isinstance(part, Mapping) else asdict(part).items()
        found.extend((spec.name, key, value) for key, value in pairs)
    return found


def _toml(value: Any) -> str:
    """A string, number, boolean or list of strings; TOML writes them as JSON does."""
    return orjson.dumps(value).decode()

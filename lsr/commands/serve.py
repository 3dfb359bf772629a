"""`lsr serve`: indexes behind HTTP on this machine."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from ..errors import UsageError
from . import _completing as complete
from ._serve_config import Chosen, chosen
from ._serve_config import show as print_settings

EXAMPLES = """\b
Examples:
  lsr serve scifact.index
  lsr serve news=/data/news.index blogs=/data/blogs.index --port 8080
  lsr serve --data server                 live collections, kept in server/
  lsr serve --config lsr.toml --show      what would be served and how
  lsr serve --config lsr.toml --workers 4
  lsr serve big.index --ray --replicas 1..4
"""


@click.command(epilog=EXAMPLES)
@click.argument("indexes", nargs=-1, metavar="[[NAME=]INDEX...]", shell_complete=complete.folders)
@click.option(
    "--data",
    "home",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Keep live collections in DIR, which is made where there is none; documents of each INDEX "
    "can then be changed too. Without it nothing can be written.",
)
@click.option(
    "--read-only",
    is_flag=True,
    help="With --data: change the collections in DIR alone, no INDEX.",
)
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Settings in a TOML file; what the command line says wins over it.",
)
@click.option("--show", is_flag=True, help="Print all settings as such a file, and end.")
@click.option("--json", "json", is_flag=True, help="With --show: print one JSON object.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--insecure", is_flag=True, help="Listen beyond this machine although there is no key."
)
@click.option(
    "--cors",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let pages of ORIGIN, such as https://app.example.org, use the API. Repeatable.",
)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="Answer to this name too; on loopback a server goes by localhost alone. Repeatable.",
)
@click.option(
    "--key-rate",
    type=click.FloatRange(0, min_open=True),
    metavar="N",
    help="Requests per second that each key may make. Default: any number",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Another folder of the encoder that built the index NAME. Repeatable.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that answer; they share the memory of the indexes.",
)
@click.option(
    "--embed",
    "embed_index",
    metavar="NAME",
    help="Whose encoder answers /embed_sparse. Default: that of the only index with one",
)
@click.option(
    "--ray",
    "on_ray",
    is_flag=True,
    help="Let a Ray cluster search the shards of sets: that at RAY_ADDRESS, or one started here.",
)
@click.option(
    "--replicas",
    metavar="N|MIN..MAX",
    help="With --ray: replicas of each shard, or their bounds for autoscaling. Default: 1",
)
@click.option("--access-log", is_flag=True, help="Log every request.")
@click.option(
    "--log",
    "log_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to log: lines for people, or a JSON object a line.",
)
@click.option(
    "--log-queries",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="Log the text of this share of the searches. Default: of none",
)
@click.pass_context
def serve(
    ctx: click.Context,
    *,
    indexes: tuple[str, ...],
    home: Path | None,
    read_only: bool,
    file: Path | None,
    show: bool,
    json: bool,
    host: str,
    port: int,
    insecure: bool,
    origins: tuple[str, ...],
    host_names: tuple[str, ...],
    key_rate: float | None,
    encoders: tuple[str, ...],
    workers: int,
    embed_index: str | None,
    on_ray: bool,
    replicas: str | None,
    access_log: bool,
    log_format: Literal["text", "json"],
    log_queries: float,
) -> None:
    """Answer searches of each INDEX at POST /v1/indexes/NAME/search, and keep live collections.

    NAME is the directory's name without .index, unless it is given. The address itself shows the
    search page; /docs, /livez and /readyz describe the service. A set of shards is searched by
    threads of this process, or with --ray by replicas of every shard in a cluster.
    """
    flags: dict[tuple[str, str], Any] = {}
    for name, value in {
        "home": (("server", "data"), str(home)),
        "read_only": (("server", "read_only"), read_only),
        "host": (("server", "host"), host),
        "port": (("server", "port"), port),
        "insecure": (("server", "insecure"), insecure),
        "origins": (("server", "origins"), origins),
        "host_names": (("server", "host_names"), host_names),
        "key_rate": (("limits", "key_rate"), key_rate),
        "workers": (("server", "workers"), workers),
        "embed_index": (("server", "embed_index"), embed_index),
        "on_ray": (("ray", "enabled"), on_ray),
        "access_log": (("server", "access_log"), access_log),
        "log_format": (("server", "log"), log_format),
        "log_queries": (("server", "log_queries"), log_queries),
    }.items():
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            flags[value[0]] = value[1]
    if replicas is not None:
        least, most = _bounds(replicas)
        flags |= {("ray", "min_replicas"): least, ("ray", "max_replicas"): most}
    paths: dict[str, Path] = {}
    for text in indexes:
        name, path = _named(text)
        if name in paths:
            raise UsageError(f"two indexes are called {name!r}; name one of them: NAME={path}")
        paths[name] = path
        flags["indexes", name] = str(path)

    def settings() -> Chosen:
        """As the file is now, with what the command line said when it was typed."""
        read = chosen(file, flags)
        named = dict(_encoder(text, read.config.indexes) for text in encoders)
        return chosen(file, {**flags, **{("encoders", name): str(p) for name, p in named.items()}})

    now = settings()
    if show:
        print_settings(now, json=json)
        return
    if not now.config.indexes and not now.config.server.data:
        raise UsageError("nothing to serve: name an INDEX, or a data directory with --data DIR")
    from service import serve_settings

    server = now.config.server
    with ExitStack() as stack:
        if now.config.ray.enabled:
            if server.workers > 1:
                raise UsageError(
                    f"--workers {server.workers} with --ray: one process asks the replicas; start "
                    "several servers on the same cluster instead, each on a port of its own"
                )
            from ..ray_cluster import cluster

            stack.enter_context(cluster("lsr serve --ray", dashboard=True))
        elif replicas is not None:
            raise UsageError("--replicas is for the shards that Ray serves: give --ray as well")
        serve_settings(
            now.config.settings(),
            host=server.host,
            port=server.port,
            insecure=server.insecure,
            log_format=server.log,
            workers=server.workers,
            reload=lambda: settings().config.settings(),
        )


def _bounds(text: str) -> tuple[int, int]:
    """N, or MIN..MAX.

    >>> _bounds("2"), _bounds("1..4")
    ((2, 2), (1, 4))
    """
    least, dots, most = text.partition("..")
    try:
        bounds = int(least), int(most if dots else least)
    except ValueError:
        bounds = (0, 0)
    if not 1 <= bounds[0] <= bounds[1]:
        raise UsageError(f"--replicas {text}: wanted a number from 1, or MIN..MAX such as 1..4")
    return bounds


def _encoder(text: str, paths: Mapping[str, str]) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or name not in paths:
        raise UsageError(
            f"--encoder {text}: wanted NAME=FOLDER with the name of an index, one of "
            f"{', '.join(paths)}"
        )
    return name, Path(folder)


def _named(text: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH alone, whose directory names it; a path that exists may hold a `=`."""
    name, sign, path = text.partition("=")
    if sign and not Path(text).exists():
        return name, Path(path)
    return Path(text).resolve().name.removesuffix(".index"), Path(text)

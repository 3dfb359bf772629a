"""`lsr.toml`: everything `lsr serve` can be told, in one typed file.

    [server]
    data = "/var/lib/lsr"
    workers = 2
    log = "json"

    [storage]
    min_free_mib = 2048

    [limits]
    concurrent = 64

    [ray]
    max_replicas = 4

    [indexes]
    papers = "papers.index"

Paths are relative to the file. An unknown key is an error that says which was meant. What the
command line says wins.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lsr.errors import RecipeError, UsageError
from lsr.typed_toml import build, number

from .limits import MIB, Limits
from .settings import OnRay, Settings, Watermarks


@dataclass(frozen=True)
class Server:
    """Where and how to serve. `data` is the data directory; empty for none. With `read_only` it
    alone is written to, not the `indexes`.
    """

    host: str = "127.0.0.1"
    port: int = number(8000, low=0, high=65535)
    workers: int = number(1, low=1, high=64)
    data: str = ""
    read_only: bool = False
    insecure: bool = False
    host_names: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    embed_index: str = ""
    log: Literal["text", "json"] = "text"
    access_log: bool = False
    log_queries: float = number(0.0, low=0.0, high=1.0)
    canary_minutes: float = number(15.0, low=0.0)
    cursor_minutes: float = number(10.0, low=0.0)


@dataclass(frozen=True)
class Storage:
    """Where ingestion stops, so that a disk is never full (pressure.py)."""

    min_free_mib: int = number(512, low=0)
    min_free_share: float = number(0.05, low=0.0, high=1.0)
    max_log_mib: int = number(1024, low=1)


@dataclass(frozen=True)
class Ray:
    """Whether and how the shards of sets are served by a Ray cluster (settings.OnRay)."""

    enabled: bool = False
    min_replicas: int = number(1, low=1, high=1000)
    max_replicas: int = number(1, low=1, high=1000)
    target_ongoing: float = number(2.0, low=0.1)
    replica_cpus: float = number(0.0, low=0.0)
    shard_timeout_s: float = number(10.0, low=0.01)

    def settings(self) -> OnRay:
        """As the app takes it. Raises `UsageError` for bounds the wrong way round."""
        if self.max_replicas < self.min_replicas:
            raise UsageError(
                f"ray: max_replicas = {self.max_replicas} is less than min_replicas = "
                f"{self.min_replicas}; wanted at least as many"
            )
        return OnRay(
            self.min_replicas,
            self.max_replicas,
            self.target_ongoing,
            self.replica_cpus,
            self.shard_timeout_s,
        )


@dataclass(frozen=True)
class Config:
    """The whole file. `indexes` and `encoders` are paths by name."""

    server: Server = field(default_factory=Server)
    storage: Storage = field(default_factory=Storage)
    limits: Limits = field(default_factory=Limits)
    ray: Ray = field(default_factory=Ray)
    indexes: Mapping[str, str] = field(default_factory=dict)
    encoders: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> Settings:
        """What the app needs of it. Raises `UsageError` for names and origins that cannot be."""
        from .server import names_on  # which imports this package's heavy half

        server, storage = self.server, self.storage
        return Settings(
            indexes={name: Path(path) for name, path in self.indexes.items()},
            encoders={name: Path(path) for name, path in self.encoders.items()},
            home=Path(server.data) if server.data else None,
            read_only=server.read_only,
            limits=self.limits,
            origins=server.origins,
            host_names=names_on(server.host, server.host_names),
            access_log=server.access_log or server.log_queries > 0,
            log_queries=server.log_queries,
            canary_minutes=server.canary_minutes,
            cursor_minutes=server.cursor_minutes,
            watermarks=Watermarks(
                storage.min_free_mib * MIB, storage.min_free_share, storage.max_log_mib * MIB
            ),
            ray=self.ray.settings() if self.ray.enabled else None,
            embed_index=server.embed_index or None,
        )


def read_config(path: Path) -> Config:
    """Read a file. Raises `RecipeError`, which names the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file; `lsr serve --show` prints one") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error
    config = build(Config, table, str(path))
    folder = path.resolve().parent
    return Config(
        server=_placed(config.server, folder),
        storage=config.storage,
        limits=config.limits,
        ray=config.ray,
        indexes={name: str(folder / one) for name, one in config.indexes.items()},
        encoders={name: str(folder / one) for name, one in config.encoders.items()},
    )


def _placed(server: Server, folder: Path) -> Server:
    return replace(server, data=str(folder / server.data)) if server.data else server

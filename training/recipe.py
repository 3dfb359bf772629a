"""A recipe: one typed TOML file that says everything about a training run.

Every key is a field of a frozen dataclass below; a key that is not there is an error, as is a value
of another type or out of range. Nothing here imports torch, so a recipe can be checked anywhere.

    name = "mini"
    [model]                     which checkpoint, which kind of encoder
    [model.scratch]             instead of a checkpoint: sizes of a BERT made from nothing
    [data]                      which collections, which negatives
    [stage.mlm]                 optional: teach a new head to speak the vocabulary
    [stage.calibrate]           optional: shift the head so that a known share of terms is active
    [stage.contrastive]         rank: InfoNCE and FLOPS
    [run]                       seed, precision, checkpoints
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from lsr.encoders.hub import download
from lsr.errors import RecipeError

from .typed_toml import build, number

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
SHIPPED = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True, slots=True)
class Scratch:
    """Sizes of a BERT with random weights and a WordPiece vocabulary learned from the documents."""

    layers: int = number(2, low=1)
    hidden: int = number(64, low=8)
    heads: int = number(2, low=1)
    vocabulary: int = number(2000, low=300)


@dataclass(frozen=True, slots=True)
class Model:
    """Which network to start from and which kind of encoder to make of it."""

    kind: Literal["inference-free", "siamese"]
    backbone: str = ""
    """A folder (absolute, or relative to the recipe) or a hub name; empty with [model.scratch]."""
    scratch: Scratch | None = None
    new_head: bool = False
    """Make a masked-LM head tied to the word embeddings if the checkpoint has none."""
    max_length: int = number(256, low=8)
    """Tokens read from a document when the trained encoder is used; stages may train on fewer."""
    query_length: int = number(64, low=4)
    dropout: float | None = number(None, low=0, high=0.9)
    """Dropout while training; left out, the checkpoint's own. On a CPU its random numbers take a
    third of the time, and a run of less than one pass over the data has little to overfit."""


@dataclass(frozen=True, slots=True)
class Data:
    """Which judged collections to learn from."""

    train: tuple[str, ...]
    """Names of collections, folders, or .jsonl files of {"query", "pos", "neg"} records."""
    split: str = "train"
    negatives: int = number(0, low=0)
    """Given negatives drawn per query, where a collection has them; others are in-batch."""
    mined_depth: int = number(0, low=0)
    """Where a collection gives no negatives, use its BM25 ranking down to this rank; 0 = never."""
    mined_from: int = number(10, low=0)
    """First rank taken as a mined negative: the very top often holds unjudged answers."""
    repeat: Mapping[str, int] = field(default_factory=dict)
    """How often a collection's queries come per pass, by name as in `train`; default 1."""


@dataclass(frozen=True, slots=True)
class MlmStage:
    """Masked-language modelling over the documents, which a new head needs before it can rank."""

    steps: int = number(low=1)
    batch: int = number(32, low=1)
    learning_rate: float = number(5e-4, low=0)
    warmup_steps: int = number(0, low=0)
    max_length: int = number(128, low=8)
    masked: float = number(0.15, low=0, high=1)
    """Share of tokens that are hidden and must be guessed: learns related terms."""
    kept: float = number(0.15, low=0, high=1)
    """Share of tokens left visible that must be named: learns the literal terms."""
    layers: int = number(-1, low=-1)
    """How many of the last layers learn, beside the head; -1 = everything, embeddings included."""


@dataclass(frozen=True, slots=True)
class CalibrateStage:
    """One number subtracted from the head's bias, so that ranking starts from sparse vectors."""

    active_terms: int = number(256, low=1)
    documents: int = number(512, low=1)


@dataclass(frozen=True, slots=True)
class ContrastiveStage:
    """Ranking: InfoNCE over in-batch and given negatives plus FLOPS with a quadratic ramp."""

    steps: int = number(low=1)
    batch: int = number(32, low=1)
    """Queries a step; documents are the distinct positives and negatives of these queries."""
    accumulate: int = number(1, low=1)
    learning_rate: float = number(2e-5, low=0)
    warmup_steps: int = number(0, low=0)
    weight_decay: float = number(0.01, low=0)
    clip: float = number(1.0, low=0)
    max_length: int = number(256, low=8)
    loss: Literal["info_nce"] = "info_nce"
    scale: float = number(1.0, low=0)
    """Multiplies scores inside the loss (inverse temperature); sums of idf run to a hundred."""
    flops_documents: float = number(0.0, low=0)
    flops_queries: float = number(0.0, low=0)
    flops_ramp: int = number(0, low=0)
    """Steps until the FLOPS weights reach the values above."""
    layers: int = number(-1, low=-1)
    sampled_terms: int = number(0, low=0)
    """Inference-free only: compute the tokens of the batch and this many other terms, drawn at
    random, instead of the whole vocabulary; scores stay exact, FLOPS unbiased. 0 = everything."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages in the order they run; those left out are skipped."""

    contrastive: ContrastiveStage
    mlm: MlmStage | None = None
    calibrate: CalibrateStage | None = None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run: nothing here changes what is learned, but for seed and precision."""

    seed: int = number(0, low=0)
    bf16: bool = False
    log_every: int = number(20, low=1)
    checkpoint_every: int = number(200, low=1)
    keep_checkpoints: int = number(1, low=1)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe; `path` is the file it came from."""

    name: str
    model: Model
    data: Data
    stage: Stages
    run: RunSettings = field(default_factory=RunSettings)
    description: str = ""
    path: Path = field(default=Path(), metadata={"internal": True})

    def fingerprint(self) -> str:
        """16 hex digits of everything in it but its place on disk and how it is logged."""
        content = asdict(self)
        for aside in ("path", "description", "name"):
            del content[aside]
        for aside in ("log_every", "checkpoint_every", "keep_checkpoints"):
            del content["run"][aside]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe: a file, or the name of a shipped one such as "smoke".

    `overrides` maps dotted keys to values that replace the file's, e.g.
    `{"model.backbone": "/models/minilm"}`. Raises `RecipeError` with file, key and what was wanted.

    >>> load_recipe("smoke").stage.contrastive.loss
    'info_nce'
    """
    file = _find(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not a TOML file: {error}") from error
    for key, value in (overrides or {}).items():
        _override(table, key, value, file)
    recipe = build(Recipe, table, str(file))
    recipe = replace(recipe, path=file)
    _check(recipe)
    return recipe


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(p.stem for p in SHIPPED.glob("*.toml"))


def backbone_folder(recipe: Recipe) -> Path:
    """The folder of the backbone: as written, beside the recipe, or fetched from the hub."""
    name = recipe.model.backbone
    for folder in (Path(name).expanduser(), recipe.path.parent / name):
        if folder.is_dir():
            return folder
    if not _HUB_NAME.fullmatch(name):
        raise RecipeError(
            f"{recipe.path}: model.backbone = '{name}' is no folder, neither in the working "
            "directory nor beside the recipe; name a folder with config.json, model.safetensors "
            "and tokenizer.json, or a hub name (owner/name)."
        )
    return download(name)


def _find(path: str | Path) -> Path:
    file = Path(path)
    if file.is_file():
        return file
    by_name = SHIPPED / f"{path}.toml"
    if by_name.is_file():
        return by_name
    close = difflib.get_close_matches(file.stem, shipped_recipes(), n=1)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    raise RecipeError(
        f"{path}: no such recipe file, and no shipped recipe has this name"
        f"{hint} Shipped: {', '.join(shipped_recipes())}."
    )


def _override(table: dict[str, Any], key: str, value: Any, file: Path) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"{file}: cannot set {key}: {parent} is a value, not a section.")
    table[last] = value


def _check(recipe: Recipe) -> None:
    """What no single field can see."""
    model, data, contrastive = recipe.model, recipe.data, recipe.stage.contrastive
    file = recipe.path
    if not data.train:
        raise RecipeError(
            f"{file}: data.train is empty; name at least one collection to learn from."
        )
    if bool(model.backbone) == (model.scratch is not None):
        raise RecipeError(
            f"{file}: [model] wants either backbone (a checkpoint) or a section [model.scratch], "
            f"got {'both' if model.backbone else 'neither'}."
        )
    if model.kind == "siamese" and contrastive.sampled_terms:
        raise RecipeError(
            f"{file}: stage.contrastive.sampled_terms = {contrastive.sampled_terms} with kind = "
            '"siamese": query expansion may touch any term, so every term must be computed; '
            "leave it out."
        )
    if model.kind == "inference-free" and contrastive.flops_queries:
        raise RecipeError(
            f"{file}: stage.contrastive.flops_queries = {contrastive.flops_queries} with kind = "
            '"inference-free": queries come from a table and have nothing to regularise; '
            "leave it out."
        )
    for name in data.repeat:
        if name not in data.train:
            raise RecipeError(f"{file}: data.repeat names '{name}', which is not in data.train.")
    for name, stage in (("mlm", recipe.stage.mlm), ("contrastive", contrastive)):
        if stage is not None and stage.max_length > model.max_length:
            raise RecipeError(
                f"{file}: stage.{name}.max_length = {stage.max_length} exceeds model.max_length = "
                f"{model.max_length}; the encoder would never see such long texts."
            )

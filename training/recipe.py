"""A recipe: one typed TOML file that says everything about a training run.

Every key is a field of a frozen dataclass in `sections`; a key that is not there is an error, as is
a value of another type or out of range. Nothing here imports torch: a recipe can be checked
anywhere.

    name = "mini"
    [model]                     which checkpoint, which kind of encoder
    [model.scratch]             instead of a checkpoint: sizes of a BERT made from nothing
    [data]                      which collections, which negatives
    [model.decoder]             the backbone is a causal language model: echo, bidirectional, ...
    [model.lora]                learn low-rank updates instead of all weights
    [stage.mlm]                 optional: teach a new head to speak the vocabulary
    [stage.calibrate]           optional: shift the head so that a known share of terms is active
    [stage.ranking]             rank: InfoNCE and FLOPS
    [[teachers]]                optional: models whose scores to learn from, any number
    [distillation]              how their scores become one target
    [develop]                   optional: early stopping on queries that training never sees
    [run]                       seed, precision, checkpoints
"""

import difflib
import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import orjson

from lsr.encoders.analysis import StemmerName
from lsr.encoders.hub import download
from lsr.errors import RecipeError
from lsr.typed_toml import build

from .develop_checks import check_develop
from .mining.windows import parse_window
from .network_checks import check_uhd, check_window
from .sections import Data, Develop, Distillation, Model, RunSettings, TeacherSettings
from .stage_sections import RankingStage, Stages
from .teacher_checks import check_teachers

_FRAME = 2
"""The tokens before and after a text: a window has at least these beside it."""
_SIDE = re.compile(r"(document|query)_0_\w*Transformer")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_LATER: dict[tuple[str, str], object] = {
    ("model", "pool_special"): True,
    ("ranking", "windows"): 1,
    ("ranking", "window_overlap"): 32,
    ("data", "draw"): "uniform",
    ("mlm", "shifted"): False,
    ("mlm", "mask_token"): "",
}
"""Keys that came after runs had been written down: at these values a run goes on as it began."""
_ASIDE = (
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "checkpoint",
    "rewarm_steps",
    "fsdp",
    "fsdp_config",
    "deepspeed",
    "watch_pairs",
    "on_collapse",
    "tensorboard",
    "report_to",
)
"""Keys of [run] that say how a run is kept and shown, not what it learns."""
SHIPPED = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole recipe; `path` is the file it came from."""

    name: str
    model: Model
    data: Data
    stage: Stages
    teachers: tuple[TeacherSettings, ...] = ()
    distillation: Distillation = field(default_factory=Distillation)
    develop: Develop | None = None
    run: RunSettings = field(default_factory=RunSettings)
    description: str = ""
    path: Path = field(default=Path(), metadata={"internal": True})

    def fingerprint(self) -> str:
        """16 hex digits of everything in it but its place on disk and how it is logged."""
        content = asdict(self)
        for aside in ("path", "description", "name"):
            del content[aside]
        for aside in _ASIDE:
            del content["run"][aside]
        del content["data"]["licences"], content["model"]["licence"], content["model"]["seen"]
        for aside in ("cache", "vectors", "device"):
            del content["distillation"][aside]
        stages = content["stage"]
        added = {
            "model": content["model"],
            "data": content["data"],
            "mlm": stages["mlm"] or {},
            "ranking": stages["ranking"],
        }
        for (section, key), default in _LATER.items():
            if added[section].get(key) == default:
                del added[section][key]
        for teacher in content["teachers"]:
            if teacher["stemmer"] is None:
                del teacher["stemmer"]
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def load_recipe(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and check a recipe: a file, or the name of a shipped one such as "smoke".

    `overrides` maps dotted keys to values that replace the file's, e.g.
    `{"model.backbone": "/models/minilm"}`; None takes the key or section out. Raises `RecipeError`
    with file, key and what was wanted.

    >>> load_recipe("smoke").stage.ranking.losses.info_nce
    1.0
    """
    file = _find(path)
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not a TOML file: {error}") from error
    return make_recipe(table, file, overrides)


def make_recipe(
    table: dict[str, Any], file: Path, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe from what its TOML file would hold; `file` says where names are relative to."""
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
    return checkpoint_folder(recipe, recipe.model.backbone, key="model.backbone")


def checkpoint_folder(recipe: Recipe, name: str, *, key: str) -> Path:
    """The folder that `key` of a recipe names: as written, beside the recipe, or from the hub.

    Of an encoder with two sides a backbone is the network of one of them, and a teacher all of it.
    """
    for folder in (Path(name).expanduser(), recipe.path.parent / name):
        if folder.is_dir() or (recipe.model.decoder and _is_gguf(folder)):
            return _network_in(folder, key)
    if not _HUB_NAME.fullmatch(name):
        raise RecipeError(
            f"{recipe.path}: {key} = '{name}' is no folder, neither in the working "
            "directory nor beside the recipe; name a folder with config.json, model.safetensors "
            "and tokenizer.json, or a hub name (owner/name)."
        )
    return _network_in(download(name), key)


def _network_in(folder: Path, key: str) -> Path:
    """The checkpoint inside the folder of an encoder with two sides; any other folder itself."""
    if not key.startswith("model."):
        return folder
    side = "query" if key == "model.query_backbone" else "document"
    for place in sorted(folder.glob(f"{side}_0_*Transformer")):
        if (place / "config.json").is_file():
            return place
    return folder


def is_side(folder: Path) -> bool:
    """Whether a checkpoint is that of one side of the encoder around it, by its name.

    >>> is_side(Path("runs/a/document_0_TextTransformer")), is_side(Path("runs/a"))
    (True, False)
    """
    return _SIDE.fullmatch(folder.name) is not None


def encoder_folder(recipe: Recipe) -> Path | None:
    """The encoder whose folder model.backbone names; None where it is a bare checkpoint."""
    if not recipe.model.backbone:
        return None
    found = backbone_folder(recipe)
    of_documents = is_side(found) and found.name.startswith("document")
    folder = found.parent if of_documents else found
    return folder if (folder / "modules.json").is_file() else None


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
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _check(recipe: Recipe) -> None:
    """What no single field can see."""
    model, data, ranking = recipe.model, recipe.data, recipe.stage.ranking
    file = recipe.path
    if not data.train:
        raise RecipeError(
            f"{file}: data.train is empty; name at least one collection to learn from."
        )
    if model.scratch is not None and model.scratch.hidden % model.scratch.heads:
        raise RecipeError(
            f"{file}: model.scratch.hidden = {model.scratch.hidden} is no multiple of "
            f"model.scratch.heads = {model.scratch.heads}; each head has an equal part of it."
        )
    if bool(model.backbone) == (model.scratch is not None):
        raise RecipeError(
            f"{file}: [model] wants either backbone (a checkpoint) or a section [model.scratch], "
            f"got {'both' if model.backbone else 'neither'}."
        )
    if model.kind != "inference-free" and ranking.sampled_terms:
        raise RecipeError(
            f"{file}: stage.ranking.sampled_terms = {ranking.sampled_terms} with kind = "
            f'"{model.kind}": query expansion may touch any term, so every term must be computed; '
            "leave it out."
        )
    if model.kind == "inference-free" and ranking.sparsity.queries:
        raise RecipeError(
            f"{file}: stage.ranking.sparsity.queries = {ranking.sparsity.queries} with kind = "
            '"inference-free": queries come from a table and have nothing to regularise; '
            "leave it out."
        )
    if model.query_backbone and model.kind != "separate":
        raise RecipeError(
            f'{file}: model.query_backbone with kind = "{model.kind}": only kind = "separate" '
            "gives queries a network of their own; leave it out or change the kind."
        )
    if model.query_table != "idf" and model.kind != "inference-free":
        raise RecipeError(
            f'{file}: model.query_table = "{model.query_table}" with kind = "{model.kind}": only '
            "inference-free queries come from a table; leave it out or change the kind."
        )
    if model.uhd is not None:
        check_uhd(model, recipe.stage, model.uhd, file)
    _check_decoder(recipe)
    _check_ranking(ranking, file)
    _check_mining(recipe)
    for name in data.repeat:
        if name not in data.train:
            raise RecipeError(f"{file}: data.repeat names '{name}', which is not in data.train.")
    for name, stage in (("mlm", recipe.stage.mlm), ("clm", recipe.stage.clm), ("ranking", ranking)):
        if stage is not None and stage.max_length > model.max_length:
            raise RecipeError(
                f"{file}: stage.{name}.max_length = {stage.max_length} exceeds model.max_length = "
                f"{model.max_length}; the encoder would never see such long texts."
            )
    check_teachers(recipe.teachers, recipe.distillation, ranking.losses, file)
    if data.draw == "spread" and not (recipe.teachers and data.negatives):
        raise RecipeError(
            f'{file}: data.draw = "spread" orders given negatives by their teachers\' scores; set '
            "data.negatives and add [[teachers]], or leave it out."
        )
    if recipe.develop is not None:
        check_develop(recipe.develop, file)


def _check_decoder(recipe: Recipe) -> None:
    model, file, mlm = recipe.model, recipe.path, recipe.stage.mlm
    bidirectional = model.decoder is not None and model.decoder.attention == "bidirectional"
    if mlm is not None and mlm.shifted and not bidirectional:
        raise RecipeError(
            f'{file}: stage.mlm.shifted without model.decoder.attention = "bidirectional": only a '
            "decoder names what comes next, and only one that sees the hidden tokens' other side "
            "learns from it; leave it out, or use [stage.clm] for a causal one."
        )
    if model.decoder is not None:
        if not model.pool_special:
            raise RecipeError(
                f"{file}: model.pool_special = false with [model.decoder]: say which positions are "
                'not pooled by model.decoder.exclude ("special" unless told otherwise).'
            )
        if model.decoder.echo and model.decoder.attention == "bidirectional":
            raise RecipeError(
                f'{file}: model.decoder.echo with attention = "bidirectional": a second copy only '
                "helps where a position cannot see what follows; leave one of them out."
            )
        if model.lora is not None and model.lora.quantize != "none" and not recipe.run.bf16:
            raise RecipeError(
                f'{file}: model.lora.quantize = "{model.lora.quantize}" multiplies in bfloat16; '
                "set run.bf16 = true."
            )
        sharded = "fsdp" if recipe.run.fsdp else "deepspeed" if recipe.run.deepspeed else ""
        if model.lora is not None and model.lora.quantize != "none" and sharded:
            raise RecipeError(
                f'{file}: model.lora.quantize = "{model.lora.quantize}" with run.{sharded}: '
                "weights in 4 bits are not shared out; leave one of them out."
            )
        return
    if recipe.stage.clm is not None:
        raise RecipeError(
            f"{file}: [stage.clm] without [model.decoder]: a masked language model names no next "
            "tokens; use [stage.mlm]."
        )
    if model.pooling in ("last", "mean"):
        raise RecipeError(
            f'{file}: model.pooling = "{model.pooling}" without [model.decoder]: a masked '
            "language model ends in [SEP], and the layout of sentence-transformers has no mean; "
            'use "max" or "sum".'
        )
    if model.lora is not None and model.lora.quantize != "none":
        raise RecipeError(
            f'{file}: model.lora.quantize = "{model.lora.quantize}" without [model.decoder]: only '
            "decoders are loaded in 4 bits; leave it out."
        )


def _check_mining(recipe: Recipe) -> None:
    data, model, file = recipe.data, recipe.model, recipe.path
    if data.mining is None:
        if data.mined_depth and data.mined_from >= data.mined_depth:
            raise RecipeError(
                f"{file}: data.mined_from = {data.mined_from}, the first rank taken, is not below "
                f"data.mined_depth = {data.mined_depth}; lower it or mine deeper."
            )
        return
    if data.mined_depth:
        raise RecipeError(
            f"{file}: data.mined_depth is short for [data.mining] with BM25; leave one of them out."
        )
    if not data.negatives:
        raise RecipeError(
            f"{file}: [data.mining] with data.negatives = 0: none of the mined documents would be "
            "drawn; set data.negatives to 1 or more."
        )
    for i, name in enumerate(data.mining.miners):
        kind, named, stemmer = name.partition(":")
        if kind == "bm25" and named and stemmer not in get_args(StemmerName):
            raise RecipeError(
                f"{file}: data.mining.miners[{i}] = '{name}': '{stemmer}' is none of "
                f"{', '.join(get_args(StemmerName))}."
            )
    own = model.literal_residual or model.uhd or model.decoder
    if data.mining.rounds > 1 and own:
        raise RecipeError(
            f"{file}: data.mining.rounds = {data.mining.rounds}: a later round starts from the "
            "masked-LM network of the one before, which literal_residual, uhd and decoder are more "
            "than; set rounds to 1."
        )
    try:
        for window in data.mining.windows:
            parse_window(window)
    except RecipeError as error:
        raise RecipeError(f"{file}: data.mining.windows: {error}") from None


def _check_ranking(ranking: RankingStage, file: Path) -> None:
    sparsity = ranking.sparsity
    if not any(asdict(ranking.losses).values()):
        raise RecipeError(
            f"{file}: [stage.ranking.losses] gives no loss a weight above 0; name at least one, "
            "for example info_nce = 1.0."
        )
    for name in ("l0_threshold", "anti_zero"):
        if ranking.sampled_terms and getattr(sparsity, name):
            raise RecipeError(
                f"{file}: stage.ranking.sparsity.{name} = {getattr(sparsity, name)} with "
                f"sampled_terms = {ranking.sampled_terms}: it needs a document's whole length, of "
                "which a sample gives only an estimate; leave one of them out."
            )
    if ranking.windows > 1 and ranking.window_overlap >= ranking.max_length - _FRAME:
        raise RecipeError(
            f"{file}: stage.ranking.window_overlap = {ranking.window_overlap} leaves nothing new "
            f"in a window of stage.ranking.max_length = {ranking.max_length} tokens; lower it."
        )
    if ranking.window is not None:
        check_window(ranking, ranking.window, file)
    for side in ("documents", "queries"):
        target, start = getattr(ranking.controller, side), getattr(sparsity, side)
        if target is not None and not start:
            raise RecipeError(
                f"{file}: stage.ranking.controller.{side} = {target} has no weight to start from; "
                f"set stage.ranking.sparsity.{side} above 0, for example to 0.01."
            )
    if ranking.controller.lowest > ranking.controller.highest:
        raise RecipeError(
            f"{file}: stage.ranking.controller.lowest = {ranking.controller.lowest} exceeds "
            f"highest = {ranking.controller.highest}."
        )
    if ranking.controller.documents is not None and (
        sparsity.l0_threshold >= ranking.controller.documents
    ):
        raise RecipeError(
            f"{file}: stage.ranking.controller.documents = {ranking.controller.documents}, but "
            f"nothing presses on documents of up to sparsity.l0_threshold = "
            f"{sparsity.l0_threshold} terms; lower the threshold."
        )


def _is_gguf(path: Path) -> bool:
    return path.suffix == ".gguf" and path.is_file()

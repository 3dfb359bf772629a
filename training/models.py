"""From the [model] section of a recipe to networks, and from trained networks to an encoder."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lsr.encoders.buckets import Buckets
from lsr.encoders.checkpoint import require_checkpoint
from lsr.encoders.decoder import DecoderModel, lion_scale
from lsr.encoders.decoder_settings import DecoderSettings
from lsr.encoders.dense import Layout
from lsr.encoders.inference_free import InferenceFreeEncoder
from lsr.encoders.layout import load_encoder
from lsr.encoders.model import Activation, SparseModel
from lsr.encoders.parts import document_network
from lsr.encoders.separate import SeparateEncoder
from lsr.encoders.siamese import SpladeEncoder
from lsr.encoders.side import Settings, TransformerSide
from lsr.encoders.splade import SpladeModel, SpladeTextModel, n_positions
from lsr.encoders.uhd import UHDModel
from lsr.encoders.windows import pieces
from lsr.errors import EncoderError, RecipeError

from .adapters import add_lora, keep_packing, quantization
from .network import set_dropout
from .queries import TableQueries
from .recipe import Recipe, backbone_folder, checkpoint_folder, encoder_folder, is_side
from .scratch import SPECIAL, make_backbone
from .sections import Decoder
from .steps import mask_id

_ACTIVATIONS: dict[str, Activation] = {"log1p": "relu", "double-log1p": "log1p_relu"}
"""From the words of recipes to those of the stock `SpladePooling`."""


def make_model(recipe: Recipe, documents: Sequence[str], folder: Path) -> SparseModel:
    """The network of the documents with its head, on the CPU.

    A backbone from nothing learns its vocabulary from `documents` and is kept in
    `folder`/backbone, so that a later call finds the same one.
    """
    if recipe.model.scratch is None:
        return _load(recipe, backbone_folder(recipe), new_head=recipe.model.new_head)
    source = folder / "backbone"
    if not (source / "tokenizer_config.json").is_file():
        make_backbone(
            source,
            recipe.model.scratch,
            documents,
            decoder=recipe.model.decoder is not None,
            max_length=recipe.model.max_length,
            seed=recipe.run.seed,
        )
    return _load(recipe, source, new_head=recipe.model.new_head)


def make_queries(
    recipe: Recipe, documents: SparseModel, idf: npt.NDArray[np.float32]
) -> SparseModel | TableQueries:
    """What queries go through: the documents' network itself, a table, or another network.

    A network of their own starts as a copy of the documents' one, unless the recipe names a
    backbone; that must have a trained head and the same vocabulary. `idf` is (n_terms,).
    """
    wanted, stage = recipe.model, recipe.stage.ranking
    if wanted.kind == "siamese":
        return documents
    if wanted.kind == "inference-free":
        return TableQueries(
            torch.from_numpy(_first_table(recipe, documents, idf)),
            specials=documents.tokenizer.special_ids(),
            learned=wanted.query_table == "learned",
            frozen_steps=stage.table_frozen_steps,
        )
    if not wanted.query_backbone:
        return copy.deepcopy(documents)
    return _query_network(recipe, documents)


def check_networks(recipe: Recipe) -> SparseModel | None:
    """The network of the documents; raises what its checkpoint or the queries' side lacks.

    Raises as well where the folder of a teacher, which is loaded much later, is missing or holds
    no network, the mask is no token, or a prompt leaves a window no room. Called before a run
    writes anything, so that a refused recipe leaves nothing behind. None with [model.scratch],
    whose vocabulary is learned from the documents first.
    """
    mask = recipe.stage.mlm.mask_token if recipe.stage.mlm else ""
    for teacher in recipe.teachers:
        if teacher.model:
            folder = checkpoint_folder(recipe, teacher.model, key="teachers.model")
            if teacher.kind != "sparse":
                is_dense = teacher.kind == "dense"
                require_checkpoint(Layout.read(folder).checkpoint if is_dense else folder)
    if recipe.model.scratch is not None:
        sink = recipe.model.decoder.sink if recipe.model.decoder else ""
        for key, token in (("model.decoder.sink", sink), ("stage.mlm.mask_token", mask)):
            if token and token not in SPECIAL:
                raise RecipeError(
                    f"{recipe.path}: {key} = '{token}' is no special token of the "
                    f"vocabulary that [model.scratch] makes; it has {', '.join(SPECIAL)}."
                )
        return None
    documents = _load(recipe, backbone_folder(recipe), new_head=recipe.model.new_head)
    try:
        mask_id(documents.tokenizer, mask)
    except RecipeError as error:
        raise RecipeError(f"{recipe.path}: {error}") from None
    wanted, ranking = recipe.model, recipe.stage.ranking
    if ranking.windows > 1:
        reader, prompt = documents.tokenizer.limited(ranking.max_length), wanted.document_prompt
        try:
            pieces([""], reader, prompt=prompt, overlap=ranking.window_overlap)
        except EncoderError as error:
            raise RecipeError(f"{recipe.path}: stage.ranking: {error}.") from None
    if wanted.query_backbone:
        _query_network(recipe, documents)
    if wanted.query_table == "kept":
        _first_table(recipe, documents, np.empty(0, np.float32))
    return documents


def _query_network(recipe: Recipe, documents: SparseModel) -> SparseModel:
    """The network that model.query_backbone names."""
    folder = checkpoint_folder(recipe, recipe.model.query_backbone, key="model.query_backbone")
    queries = _load(recipe, folder, new_head=False)
    if queries.tokenizer.vocabulary() != documents.tokenizer.vocabulary():
        raise EncoderError(
            f"{recipe.path}: model.query_backbone {folder} numbers other tokens than "
            f"model.backbone; choose two networks that share a vocabulary"
        )
    return queries


def _first_table(
    recipe: Recipe, documents: SparseModel, idf: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """(n_terms,) the table that inference-free queries start from."""
    kind = recipe.model.query_table
    if kind == "binary":
        return (idf > 0).astype(np.float32)
    folder = encoder_folder(recipe) if kind in ("kept", "learned") else None
    encoder = None if folder is None else load_encoder(folder, queries_only=True)
    if isinstance(encoder, InferenceFreeEncoder):
        if encoder.queries.tokenizer.vocabulary() != documents.tokenizer.vocabulary():
            raise EncoderError(f"{folder}: queries and documents number their tokens differently")
        return encoder.queries.weights.copy()
    if kind == "kept":
        raise RecipeError(
            f'{recipe.path}: model.query_table = "kept", but model.backbone = '
            f"'{recipe.model.backbone}' is not the folder of an inference-free encoder; choose idf."
        )
    return idf


def _load(recipe: Recipe, source: Path, *, new_head: bool) -> SparseModel:
    wanted = recipe.model
    model = _network(recipe, source, new_head=new_head)
    positions = n_positions(model.backbone)
    echo = wanted.decoder is not None and wanted.decoder.echo
    if positions is not None and echo:
        positions //= 2
    if positions is not None and wanted.max_length > positions:
        raise RecipeError(
            f"{recipe.path}: model.max_length = {wanted.max_length}, but {source} has "
            f"{positions} positions{' for each copy of an echo' if echo else ''}; lower max_length."
        )
    if not torch.accelerator.is_available():
        # The CPU's fused attention is slow backwards: 1.8 s a step against 1.5 s for plain
        # products (MiniLM, 48 x 128 tokens, one core, bfloat16).
        model.backbone.set_attn_implementation("eager")
    if wanted.dropout is not None:
        set_dropout(model, wanted.dropout)
    if wanted.lora is not None:
        add_lora(model, wanted.lora, seed=recipe.run.seed)
    return model


def _decoder(recipe: Recipe, wanted: Decoder, source: Path) -> SparseModel:
    """A causal language model read as the recipe says."""
    model = DecoderModel.from_checkpoint(
        source,
        settings=DecoderSettings(wanted.attention, wanted.echo, wanted.exclude),
        max_length=_read_at_once(recipe),
        activation=_ACTIVATIONS[recipe.model.activation],
        pooling=recipe.model.pooling,
        sink=wanted.sink or None,
        quantization=quantization(recipe.model.lora),
    )
    keep_packing(model)
    if wanted.scale == "width":
        model.settings = replace(model.settings, logit_scale=lion_scale(model.decoder.in_features))
    if wanted.centre:
        model.centre_head()
    if wanted.shift:
        model.shift(wanted.shift)
    return model


def _read_at_once(recipe: Recipe) -> int:
    """The tokens of a text that the network reads: of one in windows, those of a window, so that
    the encoder's are as long as those that were learned from.
    """
    stage = recipe.stage.ranking
    return stage.max_length if stage.windows > 1 else recipe.model.max_length


def _network(recipe: Recipe, source: Path, *, new_head: bool) -> SparseModel:
    """The network over the checkpoint in `source`, with the heads the recipe asks for."""
    wanted, seed = recipe.model, recipe.run.seed
    if wanted.uhd is not None:
        uhd = wanted.uhd
        buckets = Buckets(uhd.layers, uhd.dims, uhd.winners, binary=uhd.binary)
        made = UHDModel.over(source, buckets, max_length=_read_at_once(recipe), seed=seed)
        trained = _trained(source)
        if isinstance(trained, UHDModel) and trained.buckets == buckets:
            made.projections.load_state_dict(trained.projections.state_dict())
        return made
    model: SparseModel
    if wanted.decoder is not None:
        model = _decoder(recipe, wanted.decoder, source)
    else:
        masked = SpladeModel if wanted.pool_special else SpladeTextModel
        model = masked.from_checkpoint(
            source,
            max_length=_read_at_once(recipe),
            new_head=new_head,
            seed=seed,
            activation=_ACTIVATIONS[wanted.activation],
            pooling=wanted.pooling,
        )
    if wanted.literal_residual:
        # A causal model has read the text at its last position only.
        model.attach_literal(position="last" if model.kind == "decoder" else "first", seed=seed)
        trained = _trained(source)
        if trained is not None and trained.literal is not None and model.literal is not None:
            model.literal.load_state_dict(trained.literal.state_dict())
    return model


def _trained(source: Path) -> SparseModel | None:
    """The network of the encoder whose folder `source` is, or is in; None of a bare checkpoint.

    What stands beside a language model's own head goes on from there.
    """
    root = source.parent if is_side(source) else source
    if not (root / "modules.json").is_file():
        return None
    try:
        encoder = load_encoder(root)
        side: object = document_network(encoder)
        if isinstance(encoder, SeparateEncoder) and source.name.startswith("query"):
            side = encoder.queries
    except EncoderError:  # of another library, with a network but without terms
        return None
    return side.model if isinstance(side, TransformerSide) else None


def make_encoder(
    recipe: Recipe,
    documents: SparseModel,
    queries: SparseModel | TableQueries,
    max_weight: float,
) -> InferenceFreeEncoder | SeparateEncoder | SpladeEncoder:
    """The kind of encoder the recipe asks for, around the trained networks."""
    wanted, stage, name = recipe.model, recipe.stage.ranking, recipe.name
    settings = Settings(wanted.query_prompt, wanted.document_prompt, wanted.max_active_terms)
    encoder: InferenceFreeEncoder | SeparateEncoder | SpladeEncoder
    if isinstance(queries, TableQueries):
        encoder = InferenceFreeEncoder.of(
            documents, queries.table(), name=name, max_weight=max_weight
        )
    elif queries is documents:
        encoder = SpladeEncoder.of(documents, name=name, max_weight=max_weight)
    else:
        encoder = SeparateEncoder.of(queries, documents, name=name, max_weight=max_weight)
    card = encoder.card
    if stage.windows > 1:
        card = replace(card, window_overlap=stage.window_overlap)
    return replace(encoder, settings=settings, card=card)

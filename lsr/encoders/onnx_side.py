"""A network side that ONNX Runtime computes: no torch, no transformers.

The graph takes token numbers and mask and gives pooled weights, so that what leaves it is
(batch, vocab) and never (batch, length, vocab). `onnx_export` writes it. Where a weight comes from
is asked of one text at a time, by the same graph with positions as outputs (`onnx_positions`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..errors import EncoderError, UsageError
from ..types import SparseMatrix
from .batching import Tokens, encode_sorted, keep_largest, padded
from .folder import copy_files, read_object
from .onnx_positions import with_positions
from .tokens import TextTokenizer

if TYPE_CHECKING:
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

OnnxPrecision = Literal["float32", "float16", "int8"]
"""How the file keeps its weights; only int8 also multiplies in it."""

CLASS_NAME = "lsr.encoders.onnx_side.OnnxTransformer"
"""What modules.json calls a folder of this kind."""
GRAPH = "model.onnx"
CONFIG = "config.json"
PREFIX = "model.backbone."
"""What stands before the name of a parameter in a graph."""

# Measured with a 6-layer, 384-wide int8 network at 128 tokens, one thread: 100 documents a second
# in batches of 512 tokens, 90 of 1,024, 66 of 2,048, which leave the second-level cache.
_BUDGET = 512


@dataclass(frozen=True, slots=True)
class ParameterNames:
    """The parameters of a network that cannot be told from the names of a graph's constants."""

    factors: tuple[str, ...]
    """The matrices of the products, in the order of the graph."""
    shared: Mapping[str, str]
    """The constant of a parameter whose numbers equal those of another one."""
    unused: frozenset[str]
    """Parameters that no text reaches."""


@dataclass(frozen=True, eq=False)
class OnnxSide:
    """A folder with `model.onnx`, `config.json` and a tokenizer."""

    folder: Path
    threads: int | None = None
    """How many texts are read at once, and of one product; None takes `LSR_THREADS`, or every core
    this process may use."""

    @cached_property
    def space(self) -> str:
        """16 hex digits: the space of the network this was exported from."""
        return self._string("space", None)

    @cached_property
    def precision(self) -> str:
        """`float32`, `float16` or `int8`: how the weights are kept."""
        return self._string("precision", get_args(OnnxPrecision))

    @cached_property
    def n_terms(self) -> int:
        """Columns of the output."""
        size = self._config.get("embedding_dimension")
        if type(size) is not int or size <= 0:
            raise EncoderError(
                f"{self.folder / CONFIG}: embedding_dimension is {size!r}, a positive number was "
                "expected; export the encoder again"
            )
        return size

    @cached_property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the network, its length limit included."""
        return TextTokenizer.load(self.folder)

    @cached_property
    def network(self) -> dict[str, Any]:
        """The shape of the network this was exported from, as transformers' config.json has it."""
        shape = self._config.get("network")
        if not isinstance(shape, dict):
            raise self._too_old("the shape of the network")
        return shape

    @cached_property
    def parameters(self) -> "ParameterNames":
        """Which parameters of the network the constants of the graph are."""
        names = self._config.get("parameters")
        try:
            return ParameterNames(
                tuple(map(str, names["factors"])),  # type: ignore[index]
                {str(name): str(at) for name, at in names["shared"].items()},  # type: ignore[index]
                frozenset(map(str, names["unused"])),  # type: ignore[index]
            )
        except (TypeError, KeyError, AttributeError):
            raise self._too_old("what parameters its constants are") from None

    @cached_property
    def readout(self) -> tuple[Literal["relu", "log1p_relu"], Literal["max", "sum"]]:
        """Activation and pooling, as the graph computes them."""
        activation = self._string("activation_function", ("relu", "log1p_relu"))
        pooling = self._string("pooling_strategy", ("max", "sum"))
        return (
            "log1p_relu" if activation == "log1p_relu" else "relu",
            "sum" if pooling == "sum" else "max",
        )

    @cached_property
    def session(self) -> "InferenceSession":
        """The graph, loaded and optimised at first use."""
        return self._loaded(str(self.folder / GRAPH))

    def strongest(self, ids: Sequence[int], terms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(len(terms),) the position of the text `ids` that gives most to each term.

        The first of several; all are those that the weights were pooled from. Raises `EncoderError`
        for a graph that `onnx_export` did not write.
        """
        session, names = self._positions
        row = np.array([ids], np.int64)
        slices = self._run(session, row, np.ones_like(row), names)
        found: npt.NDArray[np.int64] = np.concatenate(slices, axis=1)[0, terms]
        return found

    @cached_property
    def _positions(self) -> tuple["InferenceSession", list[str]]:
        """The graph that gives positions as well, and the names of their slices."""
        path = self.folder / GRAPH
        try:
            graph, names = with_positions(path.read_bytes())
        except (OSError, ValueError) as error:
            raise EncoderError(
                f"{path} does not tell where weights come from ({error}); wanted a graph that "
                "pools as those of `lsr onnx` do: export the encoder again"
            ) from None
        return self._loaded(graph), names

    def _loaded(self, graph: str | bytes) -> "InferenceSession":
        """A session of a file, or of the bytes of one."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._n_threads
        options.log_severity_level = 3
        # Waiting threads sleep: a search service shares its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(
                graph,
                options,
                providers=["CPUExecutionProvider"],
                # The fused kernel is not vectorised: 0.3 ms a layer and text of 128 tokens, four
                # times what sum and normalisation take apart; without it 79 become 100 texts/s.
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:  # onnxruntime raises a dozen classes without a common base
            raise EncoderError(
                f"{self.folder / GRAPH} is no graph that ONNX Runtime {onnxruntime.__version__} "
                f"loads ({error}); export or copy the encoder again"
            ) from error

    def encode(
        self, texts: Sequence[str], *, prompt: str, top_k: int | None, progress: bool
    ) -> SparseMatrix:
        """Term weights of `texts`; a text without any token is an empty row."""
        _ = self.session  # loaded once, not by each caller
        return encode_sorted(
            texts,
            tokenise=lambda window: self.tokenizer.framed(window, prompt=prompt),
            forward=lambda tokens: self._weights(tokens, top_k),
            n_terms=self.n_terms,
            token_budget=_BUDGET,
            progress=progress,
            # Products of one batch are too small to share: threads wait for each other after each.
            callers=self._n_threads,
        )

    def term_strings(self, terms: Sequence[int]) -> list[str]:
        """What people are shown of these terms."""
        return self.tokenizer.strings(terms)

    def write(self, folder: Path) -> None:
        """Copy graph, configuration and tokenizer into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        copy_files(self.folder, folder, [self.folder / GRAPH, self.folder / CONFIG])
        self.tokenizer.write(folder)

    def _weights(self, tokens: Tokens, top_k: int | None) -> SparseMatrix:
        ids, mask = padded(tokens, self.tokenizer.pad_id)
        (weights,) = self._run(self.session, ids, mask)
        if weights.shape != (len(tokens), self.n_terms) or not bool(np.isfinite(weights).all()):
            raise EncoderError(
                f"{self.folder / GRAPH} gave {weights.shape} weights, finite: "
                f"{bool(np.isfinite(weights).all())}; wanted {(len(tokens), self.n_terms)}, all "
                "finite. Export the encoder again"
            )
        kept = weights > 0
        offsets = np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32)
        columns = np.flatnonzero(kept) % self.n_terms
        rows: SparseMatrix = sparse.csr_array(
            (weights[kept], columns.astype(np.int32), offsets), shape=weights.shape
        )
        return rows if top_k is None else keep_largest(rows, top_k)

    def _run(
        self,
        session: "InferenceSession",
        ids: npt.NDArray[np.int64],
        mask: npt.NDArray[np.int64],
        names: list[str] | None = None,
    ) -> list[Any]:
        try:
            outputs: list[Any] = session.run(names, {"input_ids": ids, "attention_mask": mask})
        except Exception as error:  # as above
            raise EncoderError(
                f"{self.folder / GRAPH} failed on {ids.shape[0]} texts of {ids.shape[1]} tokens: "
                f"{error}"
            ) from error
        return outputs

    @property
    def _n_threads(self) -> int:
        return self.threads or _default_threads()

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_object(self.folder / CONFIG)

    def _too_old(self, what: str) -> EncoderError:
        return EncoderError(
            f"{self.folder / CONFIG}: {what} is missing, which earlier releases did not keep; "
            "export the encoder again, or train on from the one it was exported from"
        )

    def _string(self, key: str, allowed: tuple[str, ...] | None) -> str:
        value = self._config.get(key)
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            raise EncoderError(
                f"{self.folder / CONFIG}: {key} is {value!r}, wanted "
                f"{' or '.join(allowed) if allowed else 'a string'}; export the encoder again"
            )
        return value


def _default_threads() -> int:
    named = os.environ.get("LSR_THREADS")
    if not named:
        return len(os.sched_getaffinity(0))
    if not named.isdecimal() or int(named) == 0:
        raise UsageError(f"LSR_THREADS is {named!r}; wanted a number of threads, 1 or more")
    return int(named)

"""What kind of network a checkpoint folder holds, and its loader: the seam of every `SparseModel`.

A folder that stock sentence-transformers can express says nothing more than `config.json`: a
masked-LM SPLADE. Any other one holds `lsr_network.json`, `{"kind": ..., settings}`, and its encoder
names a class that only this package knows. Nothing here imports torch until a model is loaded.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import EncoderError
from .folder import read_object

if TYPE_CHECKING:
    from .model import Activation, Pooling, SparseModel

NETWORK_FILE = "lsr_network.json"
NetworkKind = Literal["masked-lm", "masked-lm-text", "decoder"]
"""`masked-lm-text` is a masked-LM that leaves special positions out of its pooling."""
CLASS_NAMES: dict[NetworkKind, str] = {
    "masked-lm": "sentence_transformers.base.modules.transformer.Transformer",
    "masked-lm-text": "lsr.encoders.splade.TextTransformer",
    "decoder": "lsr.encoders.decoder.DecoderTransformer",
}
"""The class that modules.json names for each kind."""
_ARCHITECTURES: dict[NetworkKind, str] = {
    "masked-lm": "ForMaskedLM",
    "masked-lm-text": "ForMaskedLM",
    "decoder": "ForCausalLM",
}


def network_settings(folder: Path) -> dict[str, Any]:
    """The content of `lsr_network.json`; `{"kind": "masked-lm"}` where there is none."""
    path = folder / NETWORK_FILE
    if not path.is_file():
        return {"kind": "masked-lm"}
    content = read_object(path)
    if content.get("kind") not in CLASS_NAMES:
        raise EncoderError(
            f"{path}: kind = {content.get('kind')!r} is none of {', '.join(CLASS_NAMES)}; the "
            "encoder needs a newer version of this package, or the file is damaged"
        )
    return content


def network_kind(folder: Path) -> NetworkKind:
    """Which of the kinds in `CLASS_NAMES` lies in `folder`."""
    kind: NetworkKind = network_settings(folder)["kind"]
    return kind


def architecture_suffix(kind: NetworkKind) -> str:
    """How the transformers classes end whose checkpoints are of this kind."""
    return _ARCHITECTURES[kind]


def load_network(
    folder: Path,
    *,
    max_length: int | None,
    activation: "Activation",
    pooling: "Pooling",
    lower_case: bool,
) -> "SparseModel":
    """The torch model in `folder`, by the loader of its kind; `MissingExtra` without torch."""
    kind = network_kind(folder)
    if kind == "decoder":
        from .decoder import DecoderModel

        return DecoderModel.from_checkpoint(
            folder,
            max_length=max_length,
            activation=activation,
            pooling=pooling,
            lower_case=lower_case,
        )
    from .splade import SpladeModel, SpladeTextModel

    network = SpladeTextModel if kind == "masked-lm-text" else SpladeModel
    return network.from_checkpoint(
        folder,
        max_length=max_length,
        activation=activation,
        pooling=pooling,
        lower_case=lower_case,
    )

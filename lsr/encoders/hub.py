"""Fetch a published encoder by its hub name: weights, graphs, JSON and text, never code."""

from pathlib import Path

from ..errors import EncoderError

_WANTED = ["*.json", "*.safetensors", "*.txt", "*_OnnxTransformer/model.onnx"]
_UNWANTED = ["onnx/*", "openvino/*"]


def download(name: str) -> Path:
    """Return the folder of `owner/name` in the hub's local cache, downloading what is missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=_WANTED, ignore_patterns=_UNWANTED))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderError(
            f"there is no folder {name}, and the hub gave no encoder of this name: {reason}. Check "
            "the name and the network, or give the path of a folder"
        ) from error

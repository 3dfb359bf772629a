"""Published encoders: fetch one by its hub name, publish one.

Weights, graphs, JSON and text come in, and pictures go out; never code or pickles.
"""

from pathlib import Path

from ..errors import EncoderError
from .folder import DATA_SUFFIXES, copy_files, replacing

_WANTED = ["*.json", "*.safetensors", "*.txt", "*_OnnxTransformer/model.onnx"]
_UNWANTED = ["onnx/*", "openvino/*"]
_PUBLISHED = (*DATA_SUFFIXES, ".md", ".png", ".svg")


def download(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of `owner/name` in the hub's local cache, downloading what is missing.

    `name` may end in `@revision`: a branch, tag or commit. Without a network the cache answers.
    """
    from huggingface_hub import snapshot_download

    repository, _, written = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or written or None,
                allow_patterns=_WANTED,
                ignore_patterns=_UNWANTED,
            )
        )
    except _refusals() as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderError(
            f"there is no folder {name}, and the hub gave no encoder of this name: {reason}. Check "
            "the name and the network, or give the path of a folder"
        ) from error


def _refusals() -> tuple[type[Exception], ...]:
    """What the hub's client raises for a name, a login or a network that will not do."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    told = (OSError, ValueError, HfHubHTTPError, HFValidationError)
    try:
        from httpx import HTTPError
    except ImportError:  # clients before 1.0 have requests, whose errors are OSErrors
        return told
    return (*told, HTTPError)


def cached(name: str) -> Path | None:
    """The folder of `owner/name` in the hub's local cache, None where it is not; no network."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=True,
        )
    except (OSError, ValueError, HFValidationError):  # a LocalEntryNotFoundError is a ValueError
        return None
    return Path(folder)


def published_files(folder: Path) -> list[Path]:
    """The files of an encoder folder that are published, by relative path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix in _PUBLISHED
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def copy_published(folder: Path, target: Path) -> None:
    """Copy what would be published to `target`, whole or not at all."""
    with replacing(target) as fresh:
        copy_files(folder, fresh, published_files(folder))


def upload(folder: Path, name: str, *, private: bool, message: str) -> str:
    """Publish an encoder folder as `owner/name` in one commit; the address of that commit.

    The repository is made if it is not there. Credentials are the hub client's own business.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True, repo_type="model")
        done = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            repo_type="model",
            commit_message=message,
            allow_patterns=[f"*{suffix}" for suffix in _PUBLISHED],
            ignore_patterns=[".*", "*/.*"],
        )
    except _refusals() as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EncoderError(
            f"the hub did not take {name}: {reason}. Check the network, the name and your login "
            "(the command `hf auth login`), or write a folder with --to-folder"
        ) from error
    return str(done.commit_url)

"""Download a published archive, verify it, and unpack it into the cache; all or nothing.

The zip is not trusted: only the files of a collection are taken, into names of our own choosing,
and no more bytes than the archive's table promises are written.
"""

import hashlib
import re
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

from ..errors import DatasetError
from ..progress import Bar, bar
from .catalogue import Archive

_BLOCK = 1 << 20
_TIMEOUT_S = 30
_SCHEMES = ("https:", "http:", "file:")
_WANTED = re.compile(r"(corpus|queries)\.jsonl|qrels/[A-Za-z0-9_-]+\.tsv")


def fetch(archive: Archive, into: Path) -> Path:
    """The folder `into/archive.folder`, downloaded and unpacked unless it is there already.

    Raises `DatasetError` without a network, for another MD5 sum, and for a damaged archive.
    """
    target = into / archive.folder
    if target.is_dir():
        return target
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{archive.name}.", dir=into) as scratch:
        zipped = Path(scratch) / "archive.zip"
        _download(archive, zipped)
        unpacked = Path(scratch) / "unpacked"
        # Every part of it: a second part should not cost a second download.
        for folder in _unpack(archive, zipped, unpacked):
            destination = into / folder
            destination.parent.mkdir(parents=True, exist_ok=True)
            if not destination.exists():
                shutil.move(unpacked / folder, destination)
    if not target.is_dir():
        raise DatasetError(
            f"{archive.url}: holds no folder {archive.folder!r} with corpus.jsonl; wanted BEIR's "
            "layout"
        )
    return target


def _download(archive: Archive, to: Path) -> None:
    if not archive.url.startswith(_SCHEMES):
        raise DatasetError(
            f"{archive.url}: wanted an address of https, http or file; set LSR_BEIR_URL to a "
            "folder of BEIR's zip files"
        )
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with (
            urllib.request.urlopen(archive.url, timeout=_TIMEOUT_S) as answer,
            to.open("wb") as out,
        ):
            total = int(answer.headers.get("Content-Length") or 0) or None
            counter: Bar[None] = bar(total=total, unit="bytes", desc="downloads")
            with counter:
                while block := answer.read(_BLOCK):
                    out.write(block)
                    digest.update(block)
                    counter.update(len(block))
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise DatasetError(
            f"{archive.url}: cannot be downloaded ({reason}). Without a network, put the "
            f"collection's folder at $LSR_DATA/{archive.folder}, or set LSR_BEIR_URL to a mirror"
        ) from error
    if digest.hexdigest() != archive.md5:
        raise DatasetError(
            f"{archive.url}: the download has MD5 {digest.hexdigest()}, its publishers say "
            f"{archive.md5}; it was cut short or is another file, so nothing was kept"
        )


def _unpack(archive: Archive, zipped: Path, to: Path) -> list[str]:
    """Write the collections' files below `to`; the folders of those that have a corpus."""
    folders: list[str] = []
    try:
        with zipfile.ZipFile(zipped) as archived:
            for entry in archived.infolist():
                folder, name = _place(entry.filename, archive.name)
                if name is None:
                    continue
                path = to / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with archived.open(entry) as source, path.open("wb") as out:
                    shutil.copyfileobj(source, out, _BLOCK)
                if name == "corpus.jsonl":
                    folders.append(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DatasetError(
            f"{archive.url}: not a readable zip file ({error}); nothing was kept"
        ) from error
    return folders


def _place(entry: str, name: str) -> tuple[str, str | None]:
    """(folder, file) of an entry that belongs to a collection; the file is None for all others."""
    found = re.fullmatch(rf"({re.escape(name)}(?:/[a-z0-9-]+)?)/({_WANTED.pattern})", entry)
    if found is None or found[1] == f"{name}/qrels":
        return "", None
    return found[1], found[2]

"""Where an encoder comes from: licences, benchmarks it has seen, the program that made it.

Licences are quoted, not judged: what a collection's own README says, or what the recipe says in
[data.licences] and model.licence; else "not stated".
"""

import importlib.metadata
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from lsr import __version__
from lsr.datasets import load_dataset
from lsr.encoders.card import CARD
from lsr.encoders.folder import read_object
from lsr.encoders.stated import stated_record
from lsr.errors import LsrError

from .data import Source, beside
from .recipe import Recipe

NOT_STATED = "not stated"

BEIR = (
    "arguana",
    "bioasq",
    "climate-fever",
    "cqadupstack",
    "dbpedia-entity",
    "fever",
    "fiqa",
    "hotpotqa",
    "msmarco",
    "nfcorpus",
    "nq",
    "quora",
    "robust04",
    "scidocs",
    "scifact",
    "signal1m",
    "touche-2020",
    "trec-covid",
    "trec-news",
    "webis-touche2020",
)
"""The collections of the benchmark (Thakur et al. 2021, arXiv 2104.08663), in both spellings."""

_FRONT_MATTER = re.compile(r"\A---\n.*?^licen[cs]e:\s*(\S[^\n]*)$.*?^---$", re.M | re.S)
_SENTENCE = re.compile(r"\b[Ll]icen[cs]e(?:d under)? +([A-Z].+?)(?:\.(?=\s|$)|$)", re.M)
_COLON = re.compile(r"\blicen[cs]e:\s*(\S.*?)(?:\.(?=\s|$)|$)", re.I | re.M)
# Terms that forbid some uses; people building a product want to see them at once.
_RESTRICTED = re.compile(r"\bnc\b|non-?commercial|no commercial|academic|research only", re.I)
_PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "scipy")


def in_beir(name: str) -> bool:
    """Whether a collection is, or by its name is part of, a member of BEIR.

    >>> in_beir("irds:beir/nfcorpus/train"), in_beir("nfcorpus-stopped"), in_beir("nqueens.jsonl")
    (True, True, False)
    """
    member = re.compile(rf"(?:^|[/:._-])(?:{'|'.join(BEIR)})(?:$|[/:._-])", re.I)
    return member.search(name) is not None


def stated_licence(readme: Path) -> str | None:
    """What a README says of the licence: its front matter, else the first sentence about one."""
    if not readme.is_file():
        return None
    text = readme.read_text(encoding="utf-8", errors="replace")
    for pattern in (_FRONT_MATTER, _COLON, _SENTENCE):
        found = pattern.search(text)
        if found:
            return found[1].strip().strip("\"'")
    return None


def restricts(licence: str) -> bool:
    """Whether the words of a licence forbid commercial use, as far as words tell.

    >>> restricts("CC BY-NC 2.0"), restricts("apache-2.0"), restricts("not stated")
    (True, False, False)
    """
    return _RESTRICTED.search(licence) is not None


def data_licences(recipe: Recipe, sources: Iterable[Source]) -> list[str]:
    """For each source: the recipe's word, else that of the README in its folder."""
    said = recipe.data.licences
    found: list[str] = []
    for source in sources:
        licence = said.get(source.name) or said.get(PurePath(source.name).name)
        if licence is None:
            folder = _folder(source.name, recipe)
            licence = None if folder is None else stated_licence(folder / "README.md")
        found.append(licence or NOT_STATED)
    return found


def _folder(name: str, recipe: Recipe) -> Path | None:
    try:
        path = load_dataset(beside(name, recipe.path)).path
    except LsrError:
        return None
    return path if path is None or path.is_dir() else path.parent


def backbone_licence(recipe: Recipe, backbone: Path | None) -> str:
    """The recipe's word, else that of the README in the backbone's folder, or of the encoder whose
    network it is.
    """
    if recipe.model.licence:
        return recipe.model.licence
    if recipe.model.scratch is not None:
        return "none needed: random weights"
    if backbone is None:
        return NOT_STATED
    folders = [backbone]
    if (backbone.parent / "modules.json").is_file():
        folders.append(backbone.parent)
    said = (stated_licence(folder / "README.md") for folder in folders)
    return next(filter(None, said), NOT_STATED)


def heritage(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record of training that says what the encoder has seen, its starts' too.

    An encoder that learns on keeps what it saw before, so its card has to tell it
    (`lsr.contamination` reads this). Runs before and beside it stand in one list, each once: means
    that learn on and are averaged again name the same ones in many places. What is no record in
    it, as in a file edited by hand, is left out: training is over by the time that it is read.
    """
    runs = [_seen(record)]
    for run in map(_seen, earlier(record)):
        if run not in runs:
            runs.append(run)
    return runs[0] | {"averaged": {"others": runs[1:]}}


def _seen(record: Mapping[str, Any]) -> dict[str, Any]:
    recipe, started = _mapping(record.get("recipe")), _mapping(record.get("backbone"))
    asking = _mapping(record.get("query_backbone"))
    asked = {key: asking[key] for key in ("name", "licence") if key in asking}
    return {
        "recipe": {
            "model": {"seen": list(_mapping(recipe.get("model")).get("seen", []))},
            "teachers": [
                {"model": one.get("model", "")} for one in _mappings(recipe.get("teachers"))
            ],
        },
        "backbone": {key: started[key] for key in ("name", "licence") if key in started},
        **({"query_backbone": asked} if asked else {}),
        "data": [
            {
                key: one[key]
                for key in ("name", "split", "fingerprint", "licence", "beir")
                if key in one
            }
            for one in _mappings(record.get("data"))
        ],
        "development": record.get("development"),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def heritage_of(backbone: Path | None) -> dict[str, Any] | None:
    """What the folder a run started from had seen: an encoder's, or a network's inside one.

    Of models that came without a record of ours it is what their README states.
    """
    if backbone is None:
        return None
    encoders = (f for f in (backbone, backbone.parent) if (f / "modules.json").is_file())
    folder = next(encoders, backbone)
    if (folder / CARD).is_file():
        training = read_object(folder / CARD).get("training")
        if isinstance(training, Mapping):
            return heritage(training)
    stated = stated_record(folder)
    started = stated["backbone"]
    return heritage(stated) if stated["recipe"]["model"]["seen"] or "training" in started else None


def earlier(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records of the runs before and beside this one: of its start, of those averaged with it.

    Depth first, each run once, although several may go back to one.
    """
    found: list[Mapping[str, Any]] = []
    beside = _mappings(_mapping(record.get("averaged")).get("others"))
    starts = [_mapping(record.get(one)) for one in ("backbone", "query_backbone")]
    before = [run for run in (_mapping(start.get("training")) for start in starts) if run]
    for one in before + beside:
        found += [run for run in (one, *earlier(one)) if run not in found]
    return found


def versions() -> dict[str, str]:
    """This package, Python and the libraries that decide about numbers."""
    found = {"lsr-search": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(file: Path = Path(__file__)) -> str | None:
    """The git commit of this code, with "+" if it was changed since; None outside a checkout."""
    git = ["git", "-C", str(file.parent)]
    try:
        # A package inside somebody else's repository is not that repository's code.
        _output([*git, "ls-files", "--error-unmatch", file.name])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
        return _output([*git, "rev-parse", "--short=12", "HEAD"]) + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command of this process, without the folders it names; "" when Python called us.

    >>> command_line(["/usr/bin/lsr", "train", "smoke", "/home/me/runs/smoke"])
    'lsr train smoke smoke'
    """
    program, *rest = sys.argv if arguments is None else arguments
    if PurePath(program).name not in ("lsr", "__main__.py") or rest[:1] != ["train"]:
        return ""
    return shlex.join(["lsr", *map(_without_folders, rest)])


def _without_folders(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return key + equals + (PurePath(value).name if PurePath(value).is_absolute() else value)


def hub_licence(licence: str) -> str:
    """The hub's id of a licence, if the words are one; else "other".

    >>> hub_licence("Apache-2.0"), hub_licence("CC BY-NC 2.0"), hub_licence("ask me")
    ('apache-2.0', 'cc-by-nc-2.0', 'other')
    """
    word = licence.lower().replace(" ", "-")
    known = r"apache-2\.0|mit|bsd-3-clause|cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-[1-4]\.0"
    return word if re.fullmatch(known, word) else "other"

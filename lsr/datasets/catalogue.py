"""Collections known by a short name: their ir_datasets id, their archive, and names of groups.

Ids are those of ir_datasets 0.6, archives and MD5 sums those that BEIR publishes in its list of
data sets (https://github.com/beir-cellar/beir/wiki/Datasets-available).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..conventions import CQADUPSTACK

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
"""Where BEIR keeps one zip a collection; `LSR_BEIR_URL` names a mirror instead."""

_MD5 = {
    "arguana": "8ad3e3c2a5867cdced806d6503f29b99",
    "climate-fever": "8b66f0a9126c521bae2bde127b4dc99d",
    "cqadupstack": "4e41456d7df8ee7760a7f866133bda78",
    "dbpedia-entity": "c2a39eb420a3164af735795df012ac2c",
    "fever": "5a818580227bfb4b35bb6fa46d9b6c03",
    "fiqa": "17918ed23cd04fb15047f73e6c3bd9d9",
    "hotpotqa": "f412724f78b0d91183a0e86805e16114",
    "msmarco": "444067daf65d982533ea17ebd59501e4",
    "nfcorpus": "a89dba18a62ef92f7d323ec890a0d38d",
    "nq": "d4d3d2e48787a744b6f6e691ff534307",
    "quora": "18fb154900ba42a600f84b839c173167",
    "scidocs": "38121350fc3a4d2f48850f6aff52e4a9",
    "scifact": "5f7d1de60b170fc8027bb7898e2efca1",
    "trec-covid": "ce62140cb23feb9becf6270d0d1fe6d1",
    "webis-touche2020": "46f650ba5a527fc69e0a6521c5a23563",
}

BEIR_13 = (
    "trec-covid",
    "nfcorpus",
    "nq",
    "hotpotqa",
    "fiqa",
    "arguana",
    "webis-touche2020",
    "dbpedia-entity",
    "scidocs",
    "fever",
    "climate-fever",
    "scifact",
    "quora",
)
"""The thirteen that most sparse-retrieval papers average over: neither MS MARCO nor CQADupStack."""

NANO_BEIR = (
    "arguana",
    "climate-fever",
    "dbpedia-entity",
    "fever",
    "fiqa",
    "hotpotqa",
    "msmarco",
    "nfcorpus",
    "nq",
    "quora",
    "scidocs",
    "scifact",
    "webis-touche2020",
)

_LANGUAGES = "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh"
MIRACL = tuple(f"miracl/{language}" for language in _LANGUAGES.split())

GROUPS = {
    "beir-13": BEIR_13,
    "cqadupstack": tuple(f"cqadupstack/{part}" for part in CQADUPSTACK),
    "nanobeir": tuple(f"nanobeir/{name}" for name in NANO_BEIR),
}
"""A name that stands for several collections."""

_IRDS = {
    # The second release of Touché's judgements, which BEIR's archive holds.
    "webis-touche2020": "beir/webis-touche2020/v2",
    "msmarco-dev": "msmarco-passage/dev/small",
    "trec-dl-2019": "msmarco-passage/trec-dl-2019/judged",
    "trec-dl-2020": "msmarco-passage/trec-dl-2020/judged",
    "dl19": "msmarco-passage/trec-dl-2019/judged",
    "dl20": "msmarco-passage/trec-dl-2020/judged",
    **{f"nanobeir/{name}": f"nano-beir/{name}" for name in NANO_BEIR},
    **{name: name for name in MIRACL},
}


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip of one folder in BEIR's layout, or of one folder a part."""

    name: str
    url: str
    md5: str
    folder: str
    """The folder of the wanted collection inside the zip."""


def members(names: Sequence[str]) -> list[str]:
    """The names with groups replaced by their members, each once.

    >>> members(["scifact", "cqadupstack"])[:3]
    ['scifact', 'cqadupstack/android', 'cqadupstack/english']
    """
    found = (member for name in names for member in GROUPS.get(name, (name,)))
    return list(dict.fromkeys(found))


def irds_id(name: str) -> str:
    """What ir_datasets may call the collection: a known id, else a guess among BEIR's.

    >>> irds_id("dl19"), irds_id("scifact")
    ('msmarco-passage/trec-dl-2019/judged', 'beir/scifact')
    """
    return _IRDS.get(name, f"beir/{name}")


def archive_of(name: str) -> Archive | None:
    """BEIR's archive of a collection, None where it publishes none.

    >>> archive_of("cqadupstack/tex").folder, archive_of("robust04")
    ('cqadupstack/tex', None)
    """
    zipped, _, part = name.partition("/")
    if zipped not in _MD5 or (part and (zipped != "cqadupstack" or part not in CQADUPSTACK)):
        return None
    base = os.environ.get("LSR_BEIR_URL", BEIR_URL).rstrip("/")
    return Archive(zipped, f"{base}/{zipped}.zip", _MD5[zipped], name)


def known() -> list[str]:
    """Every name that this module can resolve when there is a network, groups included."""
    parts = [member for group in GROUPS.values() for member in group]
    return sorted({*_MD5, *_IRDS, *GROUPS, *parts})

"""Two small indexes for the page: `plain` is BM25, and in `kitchen` some documents carry terms that
their texts do not hold.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from scipy import sparse

from index import Index, build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
TEXTS = [
    ("bread", "Bread without kneading", "Flour, water and time make bread; the dough rests.", "en"),
    ("coffee", "Coffee in the evening", "Coffee after dinner keeps many people awake.", "en"),
    ("tea", "Tea in the afternoon", "Green tea after lunch, brewed for two minutes.", "en"),
    ("sleep", "Sleep and light", "Sleep comes late when evening light is bright.", "en"),
    ("brot", "Brot ohne Kneten", "Mehl, Wasser und Zeit machen Brot.", "de"),
    ("kaffee", "Kaffee am Abend", "Coffee heißt hier Kaffee.", "de"),
    ("evening", "An evening walk", "Evening after evening the same walk after dinner.", "en"),
    ("hostile", HOSTILE, f"😀😀 coffee {HOSTILE} and more coffee", "en"),
    ("nothing", "Stones", "Granite and slate.", "en"),
]
DOCUMENTS = [
    Document(doc_id, {"title": title, "text": text, "lang": lang, "year": 2000 + at})
    for at, (doc_id, title, text, lang) in enumerate(TEXTS)
]
EXPANSIONS: Mapping[str, Mapping[str, float]] = {
    "sleep": {"coffe": 0.9},
    "tea": {"coffe": 0.5, "dinner": 0.3},
}
"""Document -> terms that its text does not hold -> weight; texts themselves weigh below 1."""
KINDS = {"lang": "keyword", "year": "int"}


def build_world(folder: Path) -> dict[str, Path]:
    """Name -> index, both built into `folder`."""
    encoder = BM25Encoder.fit(document.text() for document in DOCUMENTS)
    places = {name: folder / f"{name}.index" for name in ("kitchen", "plain")}
    for path in places.values():
        build_index(path, DOCUMENTS, encoder, source="test", fields=KINDS, progress=False)
    with Index.open(places["kitchen"]) as index:
        expanded = [one for one in DOCUMENTS if one.doc_id in EXPANSIONS]
        vectors = encoder.encode_documents([one.text() for one in expanded]).todok()
        numbers = {term: at for at, term in enumerate(encoder.term_strings(range(index.n_terms)))}
        for row, document in enumerate(expanded):
            for term, weight in EXPANSIONS[document.doc_id].items():
                vectors[row, numbers[term]] = weight
        index.add(expanded, sparse.csr_array(vectors.tocsr()))
    return places


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The address of `lsr serve ARGUMENTS`, a process of its own, until the block ends.

    What it says goes to a file: a pipe that nobody reads would stop it, and its worker, which has
    the pipe as well, would keep whoever waits for its end.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "lsr", "serve", "--port", "0", *arguments], stderr=said
        )
        try:
            yield _address(process, said)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: "subprocess.Popen[bytes]", said: IO[str]) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        said.seek(0)
        for line in said:
            if line.startswith("ready") and line.endswith("\n"):
                return line.split()[1]
        assert process.poll() is None, "lsr serve ended before it was ready"
        time.sleep(0.05)
    raise AssertionError("lsr serve was not ready within two minutes")


NO_CHROMIUM = "no Chromium here: apt-get install -y chromium, or CHROMIUM=/path/to/it"


def chromium() -> str | None:
    """Where a Chromium lies."""
    for name in (os.environ.get("CHROMIUM", "chromium"), "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    return None

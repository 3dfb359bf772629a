"""Killed again and again, adapting a graph with words gives the encoder of one quiet run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytest.importorskip("onnxscript")

from test_adapt import documents, graph_with_words, tiny_encoder, write_corpus

from lsr.encoders import load_encoder

# Dies before a file or folder of the adaptation is moved to its place for the n-th time.
ADAPT = """
import os, signal, sys
from pathlib import Path
from training import adapt

corpus, output, encoder, left = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

def die(event, arguments):
    global left
    if event == "os.rename" and os.fspath(arguments[1]).startswith(str(output)):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if left:
    sys.addaudithook(die)
adapt(corpus, output, encoder=encoder, steps=4, batch=4, learning_rate=1e-3, progress=False,
      settings={"run.checkpoint_every": 2})
"""


@pytest.mark.slow
def test_a_kill_at_any_move_costs_nothing(tmp_path: Path) -> None:
    """SIGKILL before the second move of a run, the third of the next, and so on: each restart goes
    on, nothing half-written is taken for whole, and no folder stays beside what was made.
    """
    texts = [document.text() for document in documents()]
    graph_with_words(tiny_encoder(tmp_path), tmp_path / "start")
    corpus = write_corpus(tmp_path / "corpus.jsonl", documents())

    def run(output: Path, moves: int) -> int:
        command = [sys.executable, "-c", ADAPT, str(corpus), str(output), str(tmp_path / "start")]
        done = subprocess.run([*command, str(moves)], capture_output=True, text=True, check=False)
        assert done.returncode in {0, -9}, done.stderr
        return done.returncode

    quiet, stormy = tmp_path / "quiet" / "out", tmp_path / "stormy" / "out"
    assert run(quiet, 0) == 0
    kills = next(n for n in range(100) if run(stormy, n + 2) == 0)
    assert kills > 8
    wanted, got = load_encoder(quiet), load_encoder(stormy)
    for method in ("encode_documents", "encode_queries"):
        vectors = [getattr(encoder, method)(texts).toarray() for encoder in (wanted, got)]
        np.testing.assert_array_equal(vectors[0], vectors[1])
    left = [
        {
            path.relative_to(place.parent).as_posix()
            for path in place.parent.rglob("*")
            # A killed write of one small file leaves its draft.
            if not (path.is_file() and path.name.startswith("."))
        }
        for place in (quiet, stormy)
    ]
    assert left[0] == left[1], "all that is there is what the quiet run left"

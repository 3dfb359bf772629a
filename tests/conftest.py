"""What many tests share: tiny vectors, and the development collections where they lie beside us."""

import gc
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from index import _core
from lsr.types import Document, SparseMatrix

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """One OpenMP thread in each of several processes, and in what they start.

    With as many threads as cores in each they wait for one another in loops: 110 tests that train
    took 137 seconds in two processes on two cores, and 59 so.
    """
    if hasattr(config, "workerinput"):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage has to walk it again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Nor what a file's tests have left for good, such as the tracer's caches.

    Each end of a training collects garbage: half of the seconds of such tests with 430,000 objects.
    """
    if nextitem is not None and nextitem.path != item.path and len(gc.get_objects()) > 200_000:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development collections; tests that read it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the development collections are not beside the checkout ({SHARED})")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, nor a progress bar; the demo means BM25.

    The shipped encoder takes a sixtieth of a second a document; what tests it names it.
    """
    monkeypatch.setenv("LSR_ENCODER", "bm25")
    monkeypatch.setenv("LSR_CACHE", str(tmp_path_factory.getbasetemp() / "lsr-cache"))
    monkeypatch.setenv("LSR_QUIET", "1")


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's own training draws no loss curve, which takes longer than its steps.

    Those that a module shares are drawn, and looked at in test_training_card.py.
    """
    run = sys.modules.get("training.run")
    if run is not None:
        monkeypatch.setattr(run, "draw", lambda folder, stages: [])


@pytest.fixture(scope="session", autouse=True)
def undocumented() -> Iterator[list[str]]:
    """Problems that an app of this process answered and its OpenAPI document does not list.

    Apps are watched as they answer, whoever asks; a session without the service watches none.
    """
    found: list[str] = []
    module = sys.modules.get("service.frame")
    if module is None:
        yield found
        return
    from service.describing import codes_of

    answer = module.Frame.__call__

    async def watched(frame: Any, scope: Any, receive: Any, send: Any) -> None:
        problem = False
        pieces: list[bytes] = []

        async def seen(message: Any) -> None:
            nonlocal problem
            if message["type"] == "http.response.start":
                types = [value for name, value in message["headers"] if name == b"content-type"]
                problem = types == [b"application/problem+json"]
            elif problem:
                pieces.append(message.get("body", b""))
            await send(message)

        await answer(frame, scope, receive, seen)
        route = scope.get("route")  # none where the address is no route of ours
        if problem and scope["method"] in getattr(route, "methods", ()):
            code = json.loads(b"".join(pieces))["code"]
            if code not in codes_of(route, scope["method"]):
                found.append(f"{scope['method']} {route.path}: {code}")

    module.Frame.__call__ = watched
    yield found
    module.Frame.__call__ = answer


@pytest.fixture(autouse=True)
def _problems_are_documented(undocumented: list[str]) -> Iterator[None]:
    """Whatever a test asks, a route answers with no problem but those it documents."""
    yield
    told, undocumented[:] = sorted(set(undocumented)), []
    assert not told, f"answered and not documented (problems(...) of the route): {told}"


@pytest.fixture(params=_core.cpus())
def _cpu(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test on every instruction path of this machine; NEON's turn is `make test-neon`."""
    _core.set_cpu(request.param)
    yield
    _core.set_cpu("auto")


@pytest.fixture
def random_vectors() -> Callable[..., SparseMatrix]:
    """Make (n_docs, n_terms) random weights with Zipf-like terms: some lists are long."""

    def make(n_docs: int, n_terms: int = 50, *, density: int = 8, seed: int = 0) -> SparseMatrix:
        rng = np.random.default_rng(seed)
        terms = np.minimum(rng.zipf(1.4, size=(n_docs, density)) - 1, n_terms - 1)
        weights = rng.gamma(2.0, 0.5, size=(n_docs, density)).astype(np.float32) + 0.01
        rows = np.repeat(np.arange(n_docs), density)
        matrix = sparse.csr_array(
            (weights.ravel(), (rows, terms.ravel())), shape=(n_docs, n_terms), dtype=np.float32
        )
        matrix.sum_duplicates()
        return matrix

    return make


@pytest.fixture
def make_documents() -> Callable[..., list[Document]]:
    """Documents d0, d1, ... with a text and a language."""

    def make(n: int, *, first: int = 0) -> list[Document]:
        return [
            Document(f"d{i}", {"text": f"text {i}", "lang": "en" if i % 3 else "de"})
            for i in range(first, first + n)
        ]

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT masked-LM checkpoint of 67 word pieces, as transformers saves it; read only."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    pieces += ["the", "a", "cat", "dog", "sat", "on", "mat", "caf", "##s", "big", "tree", "café"]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = transformers.BertForMaskedLM(config)
        torch.nn.init.normal_(model.cls.predictions.bias, std=0.5)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-mlm"
    model.save_pretrained(folder)
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def traced_once() -> Iterator[None]:
    """A network is traced once for all its exports, which takes seconds: tests want one network in
    several precisions and poolings. The key is what a trace depends on: parameters, shape, length.
    """
    from lsr.encoders import onnx_export

    trace, kept = onnx_export._traced, dict[bytes, bytes]()

    def traced(model: Any) -> Any:
        key = hashlib.blake2b()
        for name, value in model.backbone.state_dict().items():
            key.update(f"{name} {tuple(value.shape)}".encode() + value.cpu().numpy().tobytes())
        facts = (model.backbone.config.to_json_string(), model.tokenizer.max_length, model.n_terms)
        key.update(repr((type(model).__name__, *facts)).encode())
        if key.digest() not in kept:
            kept[key.digest()] = trace(model).SerializeToString()
        return onnx_export.onnx.ModelProto.FromString(kept[key.digest()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "_traced", traced)
        yield

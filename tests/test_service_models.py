"""A folder that calls itself an encoder may hold anything; none of it is run by a server."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from index import build_index
from lsr.encoders import BM25Encoder
from lsr.types import Document
from service import Settings, create_app
from service.home import Home

DOCUMENT = Document("a", {"text": "cats sleep"})


class Bait:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.canary, "sung")


def code(canary: Path) -> str:
    return f"from pathlib import Path\nPath({str(canary)!r}).write_text('sung')\nclass Evil: pass\n"


def with_code(folder: Path, canary: Path) -> None:
    """Classes of the folder's own, by every name under which some loader would import them."""
    for name in ("evil", "modeling_evil", "tokenization_evil", "0_Evil", "__init__"):
        (folder / f"{name}.py").write_text(code(canary))


def foreign_class(folder: Path, canary: Path) -> None:
    BM25Encoder.fit(["cats sleep"]).save(folder)
    modules = [{"idx": 0, "name": "0", "path": "", "type": "evil.Evil"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    with_code(folder, canary)


def foreign_class_beside_ours(folder: Path, canary: Path) -> None:
    foreign_class(folder, canary)
    path = folder / "modules.json"
    (folder / "1_Evil").mkdir()
    (folder / "1_Evil" / "config.json").write_text('{"module_class": "evil.Evil"}')
    ours = {"idx": 0, "name": "0", "path": "", "type": "lsr.encoders.bm25.BM25Encoder"}
    evil = {"idx": 1, "name": "1", "path": "1_Evil", "type": "evil.Evil"}
    path.write_text(json.dumps([ours, evil]))


def pickled_weights(folder: Path, canary: Path) -> None:
    foreign_class(folder, canary)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    for name in ("pytorch_model.bin", "model.pt", "model.safetensors", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Bait(canary)))
    config = {"architectures": ["BertForMaskedLM"], "model_type": "bert", "vocab_size": 10}
    (folder / "config.json").write_text(json.dumps(config))


def links_out(folder: Path, canary: Path) -> None:
    foreign_class(folder, canary)
    modules = [
        {"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}
        for path in ("../../outside", "/etc")
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


def empty(folder: Path, canary: Path) -> None:
    folder.mkdir()
    with_code(folder, canary)


HOSTILE = (foreign_class, foreign_class_beside_ours, pickled_weights, links_out, empty)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    app = create_app(Settings({}, home=tmp_path / "server", work_inside=True))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_the_bait_works(tmp_path: Path) -> None:
    """Whoever unpickles it, or imports what lies beside it, makes the bird sing."""
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Bait(canary)))
    assert canary.read_text() == "sung"
    canary.unlink()
    exec(code(canary), {})
    assert canary.read_text() == "sung"


@pytest.mark.parametrize("make", HOSTILE)
def test_a_hostile_encoder_is_refused_and_nothing_of_it_runs(
    client: TestClient, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    canary = tmp_path / "canary"
    folder = tmp_path / "server" / "encoders" / "evil"
    make(folder, canary)
    answer = client.post("/v1/indexes", json={"name": "docs", "encoder": "evil"})
    assert answer.status_code in (422, 503), answer.text
    assert not canary.exists()
    assert str(tmp_path) not in answer.text
    assert client.get("/v1/indexes").json()["indexes"] == []
    assert not any(name in sys.modules for name in ("evil", "modeling_evil", "tokenization_evil"))


@pytest.mark.parametrize("make", HOSTILE)
def test_an_index_whose_encoder_was_exchanged_is_not_served(
    tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    """The copy inside the index, and a folder named on the command line."""
    canary = tmp_path / "canary"
    path = tmp_path / "docs.index"
    build_index(path, [DOCUMENT], BM25Encoder.fit(["cats"]), source="test", progress=False)
    make(tmp_path / "elsewhere", canary)
    for settings in (
        Settings({"docs": path}, encoders={"docs": tmp_path / "elsewhere"}),
        Settings({"docs": path}),
    ):
        if not settings.encoders:
            shutil.rmtree(path / "encoder")
            make(path / "encoder", canary)
        with TestClient(create_app(settings), raise_server_exceptions=False) as client:
            assert client.app_state["engine"].wait(30)  # type: ignore[attr-defined]
            body = {"query": {"text": "cats"}}
            answer = client.post("/v1/indexes/docs/search", json=body)
            assert answer.status_code == 503, answer.text
        assert not canary.exists()


def test_code_beside_a_sound_network_is_not_run(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """As a hub may hold it: a configuration that names classes of the folder's own."""
    canary = tmp_path / "canary"
    Home.open(tmp_path / "server").close()
    folder = tmp_path / "server" / "encoders" / "evil"
    shutil.copytree(tiny_checkpoint, folder)
    with_code(folder, canary)
    names = {
        "AutoConfig": "modeling_evil.Evil",
        "AutoModel": "modeling_evil.Evil",
        "AutoModelForMaskedLM": "modeling_evil.Evil",
        "AutoTokenizer": ["tokenization_evil.Evil", "tokenization_evil.Evil"],
    }
    for file in ("config.json", "tokenizer_config.json"):
        given = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        (folder / file).write_text(json.dumps(given | {"auto_map": names}))
    app = create_app(Settings({}, home=tmp_path / "server", work_inside=True))
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/v1/indexes", json={"name": "docs", "encoder": "evil"})
        if answer.status_code == 201:  # it is the standard network, without the code
            line = b'{"id": "a", "fields": {"text": "cats"}}\n'
            headers = {"Content-Type": "application/x-ndjson"}
            client.post("/v1/indexes/docs/documents", content=line, headers=headers)
            client.post("/v1/indexes/docs/search", json={"query": {"text": "cats"}})
        else:
            assert answer.status_code in (422, 503), answer.text
    assert not canary.exists()
    assert not any(name in sys.modules for name in ("modeling_evil", "tokenization_evil"))

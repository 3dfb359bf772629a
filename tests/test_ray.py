"""A Ray cluster encodes and builds what one process does, and a killed worker changes nothing."""

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy import sparse
from shards_world import (
    N_DOCS,
    SECURED,
    DiesOnce,
    LookedUp,
    bm25,
    build_one,
    documents,
    questions,
    told,
)

from index import Index, build_shards
from lsr.__main__ import run
from lsr.commands._ray_work import corpus_for_tasks, encoder_for_tasks
from lsr.datasets import load_dataset
from lsr.encoders.protocol import SparseEncoder
from lsr.errors import (
    DatasetError,
    FilterError,
    LsrError,
    ShardMissing,
    SnapshotGone,
    UnknownField,
    UsageError,
    VersionConflict,
)
from lsr.ray_cluster import MODE, ONE_MACHINE, TOKEN, secure

# ---- without Ray ----


def test_token_mode_is_on_and_cannot_be_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    fresh: dict[str, str] = {}
    secure(fresh)
    assert fresh[MODE] == "token"
    assert len(fresh[TOKEN]) == 64
    assert fresh["RAY_USAGE_STATS_ENABLED"] == "0"
    assert fresh[ONE_MACHINE] == "0"
    other: dict[str, str] = {}
    secure(other)
    assert other[TOKEN] != fresh[TOKEN]
    joining = {"RAY_ADDRESS": "head:6379"}  # its token is that of the cluster, in Ray's places
    secure(joining)
    assert TOKEN not in joining
    assert ONE_MACHINE not in joining
    with pytest.raises(UsageError, match="RAY_AUTH_MODE=disabled: whoever reaches"):
        secure({MODE: "disabled"})


def test_options_of_ray_are_refused_where_they_mean_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.jsonl").write_text('{"_id": "a", "text": "one"}\n')
    for words, expected in (
        (["index", "c.jsonl", "i", "--ray"], "--shards N"),
        (["index", "c.jsonl", "i", "--shards", "1", "--task-cpus", "2"], "give --ray as well"),
        (["encode", "c.jsonl", "v", "--ray", "--queries"], "--ray encodes documents"),
    ):
        assert run(words) == 2
        assert expected in capsys.readouterr().err


def test_without_the_package_the_install_line_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from lsr.__main__ import run; sys.exit(run(sys.argv[1:]))"
    )
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "one"}\n')
    for words in (
        ["index", "c.jsonl", "i", "--shards", "1", "--ray"],
        ["encode", "c.jsonl", "v", "--ray"],
    ):
        command = [sys.executable, "-c", code, *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert "pip install 'lsr-search[ray]'" in ended.stderr


def test_a_machine_with_another_corpus_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"_id": "a", "text": "one"}\n')
    corpus = corpus_for_tasks(str(path), load_dataset(path))
    assert [document.doc_id for document in corpus()] == ["a"]
    path.write_text('{"_id": "b", "text": "one"}\n')
    with pytest.raises(DatasetError, match="every machine needs the same files"):
        corpus()


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a"),
        ShardMissing("b", shards=(1, 2)),
        SnapshotGone(3, oldest=4, newest=5),
        FilterError("c", path=["all", 0], got=7, allowed=["x"]),
        UnknownField("d", declared=["e"], path=["d"]),
        VersionConflict("f", expected=None, found=3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_the_way_between_processes(error: LsrError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
    assert not back.may_pass
    error.__cause__ = OSError(errno.ESTALE, "stale")
    assert pickle.loads(pickle.dumps(error)).may_pass, "a cause stays behind, not what it says"


# ---- with Ray ----


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two machines of one core each, as processes of this one; token mode on."""
    if os.environ.get(MODE) is None:
        os.environ.update(SECURED)
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # workers import shards_world
    ray = pytest.importorskip("ray", reason="pip install 'lsr-search[ray]'")
    from ray.cluster_utils import Cluster

    small = {
        "num_cpus": 1,
        "object_store_memory": 100 << 20,
        "include_dashboard": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args=small)
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    ray.init(cluster.address, log_to_driver=False)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


with_ray = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


class TestWithRay:
    pytestmark = with_ray

    @pytest.mark.parametrize("n_shards", [2, 3])
    def test_shards_built_by_tasks_answer_as_one_index(
        self, nodes: Any, tmp_path: Path, n_shards: int
    ) -> None:
        from index.ray_building import on_ray

        encoder = bm25()
        one = build_one(tmp_path / "one.index", encoder)
        build_shards(
            tmp_path / "set.index",
            encoder,
            on_ray(documents, partial(_itself, encoder)),
            source="s",
            n_docs=N_DOCS,
            n_shards=n_shards,
            fields={"lang": "keyword"},
        )
        with Index.open(one) as a, Index.open(tmp_path / "set.index") as b:
            wanted = [told(hits) for hits in a.search_batch(questions(encoder), 50)]
            assert [told(hits) for hits in b.search_batch(questions(encoder), 50)] == wanted

    def test_a_task_whose_worker_is_killed_is_done_again(self, nodes: Any, tmp_path: Path) -> None:
        from index.ray_building import on_ray

        mark = tmp_path / "died"
        build_shards(
            tmp_path / "set.index",
            LookedUp(1),
            on_ray(documents, partial(DiesOnce, 1, mark, 350)),
            source="s",
            n_docs=N_DOCS,
            n_shards=3,
        )
        assert mark.exists()
        one = build_one(tmp_path / "one.index", LookedUp(1))
        with Index.open(one) as a, Index.open(tmp_path / "set.index") as b:
            queries = LookedUp(1).queries
            wanted = [told(hits) for hits in a.search_batch(queries, 50)]
            assert [told(hits) for hits in b.search_batch(queries, 50)] == wanted

    def test_an_error_of_ours_ends_the_build_and_is_told_as_it_was(
        self, nodes: Any, tmp_path: Path
    ) -> None:
        from index.ray_building import on_ray

        def shorter() -> list[Any]:
            return documents()[:-1]

        with pytest.raises(DatasetError, match="has changed since it was counted"):
            build_shards(
                tmp_path / "set.index",
                LookedUp(1),
                on_ray(shorter, partial(LookedUp, 1)),
                source="s",
                n_docs=N_DOCS,
                n_shards=2,
            )
        assert list(tmp_path.iterdir()) == []

    def test_encoding_goes_on_where_it_was_and_survives_a_kill(
        self, nodes: Any, tmp_path: Path
    ) -> None:
        from lsr.encoded_parts import part_files, write_part
        from lsr.ray_encoding import encode_on_ray

        folder = tmp_path / "parts"
        folder.mkdir()
        mark = tmp_path / "died"

        def encoded() -> list[tuple[list[str], Any]]:
            return list(
                encode_on_ray(
                    folder,
                    documents,
                    partial(DiesOnce, 1, mark, 350),
                    n_docs=N_DOCS,
                    text_fields=("text",),
                    workers=2,
                    chunk=100,
                )
            )

        for _ in range(2):
            parts = encoded()
            assert mark.exists()
            assert [i for ids, _ in parts for i in ids] == [d.doc_id for d in documents()]
            stacked = sparse.vstack([vectors for _, vectors in parts])
            assert (stacked != LookedUp(1).documents).nnz == 0
            files = {path: path.stat().st_ino for path in folder.iterdir()}
            assert len(files) == 6
            gone = sorted(files)[2]
            gone.unlink()
        encoded()
        after = {path: path.stat().st_ino for path in folder.iterdir()}
        assert {path for path in files if after[path] != files[path]} <= {gone}
        for path in files:
            path.unlink()
        one = [document.doc_id for document in documents()[30:180]]
        write_part(folder, 30, one, LookedUp(1).documents[30:180])  # by a process without Ray
        encoded()
        spans = [span for span, _ in part_files(folder)]
        assert spans[:3] == [(0, 30), (30, 180), (180, 200)]
        assert sum(last - first for first, last in spans) == N_DOCS

    def test_the_commands_give_what_they_give_without_ray(
        self, nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        lines = [json.dumps({"_id": d.doc_id, **d.fields}) for d in documents()]
        Path("c.jsonl").write_text("\n".join(lines))
        assert run(["index", "c.jsonl", "one", "--shards", "2"]) == 0
        assert run(["index", "c.jsonl", "two", "--shards", "2", "--ray"]) == 0
        assert run(["encode", "c.jsonl", "one.jsonl"]) == 0
        assert run(["encode", "c.jsonl", "two.jsonl", "--ray"]) == 0
        assert Path("one.jsonl").read_bytes() == Path("two.jsonl").read_bytes()
        assert not Path("two.jsonl.parts").exists()
        encoder = bm25()
        with Index.open("one") as a, Index.open("two") as b:
            assert a.encoder == b.encoder
            wanted = [told(hits) for hits in a.search_batch(questions(encoder), 50)]
            assert [told(hits) for hits in b.search_batch(questions(encoder), 50)] == wanted


def _itself(encoder: SparseEncoder) -> SparseEncoder:
    return encoder


def test_what_is_sent_to_tasks_makes_the_same_encoder(tmp_path: Path) -> None:
    from lsr.commands._encoders import EncoderChoice

    encoder = bm25()
    sent = pickle.loads(pickle.dumps(encoder_for_tasks(EncoderChoice("bm25"), encoder)))()
    assert (sent.space, sent.build, sent.max_weight) == (
        encoder.space,
        encoder.build,
        encoder.max_weight,
    )
    texts = [document.text() for document in documents()[:20]]
    assert (sent.encode_documents(texts) != encoder.encode_documents(texts)).nnz == 0

import gzip

import numpy as np
import pytest

from lsr.errors import DatasetError
from lsr.trec import read_qrels, read_run, write_qrels, write_run
from lsr.types import Run


def test_a_run_written_reads_back_bit_for_bit(tmp_path):
    """float32 needs nine digits; fewer would reorder near ties."""
    scores = np.sort(np.random.default_rng(0).random(50).astype(np.float32))[::-1]
    doc_ids = [f"d{i}" for i in range(50)]
    run = Run.from_rows([("q1", doc_ids, scores), ("q2", ["a", "b"], [1.0, 1.0])])
    write_run(tmp_path / "run.trec", run)
    again = read_run(tmp_path / "run.trec")
    assert list(again) == ["q1", "q2"]
    assert again.ranked("q1") == run.ranked("q1")
    assert again.ranked("q2") == run.ranked("q2")


def test_a_run_file_has_the_six_columns_of_trec(tmp_path):
    write_run(tmp_path / "run", Run.from_rows([("q", ["b", "a"], [2.5, 1.0])]), tag="mine")
    assert (tmp_path / "run").read_text() == "q Q0 b 1 2.5 mine\nq Q0 a 2 1 mine\n"


def test_a_run_may_be_compressed(tmp_path):
    write_run(tmp_path / "run.gz", Run.from_rows([("q", ["b"], [2.5])]))
    assert gzip.decompress((tmp_path / "run.gz").read_bytes()) == b"q Q0 b 1 2.5 lsr\n"
    assert read_run(tmp_path / "run.gz")["q"] == {"b": 2.5}


def test_a_run_is_read_in_trec_evals_order_whatever_its_ranks_say(tmp_path):
    """trec_eval sorts by score, ties by doc_id, both descending, and never looks at the rank."""
    (tmp_path / "run").write_text("q Q0 a 1 1.0 t\nq Q0 c 2 3.0 t\nq Q0 b 3 1.0 t\n")
    assert [doc_id for doc_id, _ in read_run(tmp_path / "run").ranked("q")] == ["c", "b", "a"]


def test_scores_that_are_one_float_are_ties(tmp_path):
    """trec_eval holds them as floats; in doubles the first would come first."""
    (tmp_path / "run").write_text("q Q0 a 1 20.00000002 t\nq Q0 b 2 20.00000001 t\n")
    assert [doc_id for doc_id, _ in read_run(tmp_path / "run").ranked("q")] == ["b", "a"]


def test_queries_may_be_interleaved(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 1 2 t\np\tQ0\ta\t1\t5\tt\nq Q0 b 2 1 t\n")
    assert dict(read_run(tmp_path / "run")) == {"q": {"a": 2.0, "b": 1.0}, "p": {"a": 5.0}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q Q0 a 1 2.0", "got 5 columns, wanted 6"),
        ("q Q0 a 1 high t", "score 'high', wanted a finite number"),
        ("q Q0 a 1 nan t", "score 'nan', wanted a finite number"),
        ("q Q0 a 1 1e39 t", "score '1e39', wanted a finite number"),
        ("q Q0 ok 1 1.0 t", "document 'ok' occurs twice for query 'q'"),
        ("q Q0 \xff 1 1.0 t", "not UTF-8"),
    ],
)
def test_a_bad_run_line_is_named_with_its_number(line, complaint, tmp_path):
    path = tmp_path / "run"
    path.write_bytes(f"q Q0 ok 1 2.0 t\n{line}\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=complaint) as caught:
        read_run(path)
    assert str(caught.value).startswith(f"{path}:2: ")


@pytest.mark.parametrize("doc_id", ["a b", "a\tb", "a\u00a0b", "", "a\n"])
def test_an_id_with_a_blank_is_refused_and_nothing_is_written(doc_id, tmp_path):
    """Written, it would shift the columns of its line and read back as another document."""
    with pytest.raises(DatasetError, match="holds a blank or is empty"):
        write_run(tmp_path / "run", Run.from_rows([("q", [doc_id], [1.0])]))
    assert list(tmp_path.iterdir()) == []


def test_a_tag_with_a_blank_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="run tag"):
        write_run(tmp_path / "run", Run.from_rows([]), tag="my run")


def test_odd_ids_survive(tmp_path):
    ids = ["<dbpedia:Ä_(x)>", "https://e.org/?a=1&b=%20", "🦜", "'\"\\", "0"]
    write_run(tmp_path / "run", Run.from_rows([("q#1", ids, [5.0, 4.0, 3.0, 2.0, 1.0])]))
    assert list(read_run(tmp_path / "run")["q#1"]) == ids


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
        "q1\td1\t2\nq1\td2\t0\n",
        "q1 0 d1 2\nq1 0 d2 0\n",
        "q1\tQ0\td1\t2\r\nq1\tQ0\td2\t0\r\n",
        "q1 0 d1 2\nq1 0 d2 0\nq1 0 d1 2\n",
    ],
    ids=["beir", "beir without header", "trec", "trec with tabs", "repeated line"],
)
def test_every_dialect_of_judgements_reads_alike(content, tmp_path):
    (tmp_path / "qrels").write_bytes(content.encode())
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 2, "d2": 0}}


def test_beir_ids_may_hold_blanks_and_grades_may_be_negative(tmp_path):
    (tmp_path / "q.tsv").write_text("q 1\td 1\t-2\n")
    assert read_qrels(tmp_path / "q.tsv") == {"q 1": {"d 1": -2}}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("q1\td1", "got 2 columns"),
        ("q1\td1\thigh", "grade 'high', wanted an integer"),
        ("q1\td1\t0.5", r"grade '0\.5', wanted an integer"),
        ("query-id\tcorpus-id\tscore", "grade 'score'"),
        ("ok\tok\t2", "has grade 2 here and 1 above"),
        ("q1\td1\t99999", "grade 99999, wanted one from -10,000 to 10,000"),
    ],
)
def test_a_bad_judgement_is_named_with_its_line(line, complaint, tmp_path):
    path = tmp_path / "q.tsv"
    path.write_text(f"ok\tok\t1\n{line}\n")
    with pytest.raises(DatasetError, match=complaint) as caught:
        read_qrels(path)
    assert str(caught.value).startswith(f"{path}:2: ")


def test_a_first_line_without_grade_is_no_header_unless_it_is_named_like_one(tmp_path):
    """A header is recognised by its name: a broken first judgement must not be swallowed."""
    (tmp_path / "q.tsv").write_text("q1\td1\tx\n")
    with pytest.raises(DatasetError, match="grade 'x'"):
        read_qrels(tmp_path / "q.tsv")


@pytest.mark.parametrize("name", ["test.tsv", "test.tsv.gz", "qrels.txt"])
def test_judgements_written_read_back(name, tmp_path):
    qrels = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}
    write_qrels(tmp_path / name, qrels)
    assert read_qrels(tmp_path / name) == qrels


def test_judgement_ids_that_would_shift_columns_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="tab"):
        write_qrels(tmp_path / "q.tsv", {"q": {"a\tb": 1}})
    with pytest.raises(DatasetError, match="blank"):
        write_qrels(tmp_path / "q.txt", {"q": {"a b": 1}})

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from scipy import sparse

from index import Index
from index.arrival import reserved
from lsr.__main__ import VERBS, cli, run
from lsr.commands._encoders import EncoderChoice
from lsr.encoders import BM25Encoder, load_encoder
from lsr.trec import read_run
from lsr.types import Document
from training import Measured, TrainReport

DOCUMENTS = [
    {
        "_id": "a",
        "title": "Green tea",
        "text": "Tea leaves hold caffeine.",
        "lang": "en",
        "year": 1990,
    },
    {
        "_id": "b",
        "title": "Coffee",
        "text": "Caffeine keeps people awake.",
        "lang": "en",
        "year": 2005,
    },
    {"_id": "c", "title": "Tee", "text": "Gruener Tee und caffeine.", "lang": "de", "year": 2011},
    {"_id": "d", "title": "Sleep", "text": "People sleep at night.", "lang": "en", "year": 2020},
]


@pytest.fixture(autouse=True)
def _nothing_outside(monkeypatch, tmp_path):
    """No test may see or touch the collections, cache and settings of the person who runs it."""
    for name in ("LSR_DATA", "LSR_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LSR_QUIET", "1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "drinks.jsonl"
    path.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    return path


@pytest.fixture
def drinks(tmp_path, corpus) -> Path:
    """The same documents as a judged collection."""
    folder = tmp_path / "drinks"
    (folder / "qrels").mkdir(parents=True)
    corpus.rename(folder / "corpus.jsonl")
    queries = [("q1", "tea"), ("q2", "sleep"), ("q3", "zzz"), ("q4", "coffee"), ("q9", "unjudged")]
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries)
    )
    (folder / "qrels" / "test.tsv").write_text("q1\ta\t1\nq2\td\t1\nq3\ta\t1\nq4\tb\t1\n")
    return folder


@pytest.fixture
def index(corpus, tmp_path, capsys) -> Path:
    path = tmp_path / "drinks.index"
    fields = ("--field", "lang:keyword", "--field", "year:int")
    assert run(["index", str(corpus), str(path), *fields]) == 0
    capsys.readouterr()
    return path


def lines_of(text: str) -> dict[str, str]:
    """label -> the rest of the last line with it."""
    return {line[:10].strip(): line[11:] for line in text.splitlines()}


class TestTheTable:
    def test_help_imports_nothing_heavy(self):
        """`lsr --help` has 0.3 s; numpy alone takes a third of it."""
        code = (
            "import sys; from lsr.__main__ import run; assert run(['--help']) == 0; "
            "print(sorted({'numpy', 'scipy', 'numba', 'orjson', 'tqdm', 'torch', 'index'} "
            "& set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr

    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_exists_and_its_help_has_an_example(self, verb, capsys):
        assert run([verb, "--help"]) == 0
        out, err = capsys.readouterr()
        assert "Example" in out
        assert f"lsr {verb}" in out
        assert err == ""

    @pytest.mark.parametrize("verb", ["search", "evaluate", "info", "check", "index", "encode"])
    def test_verbs_with_results_speak_json(self, verb):
        command = cli.get_command(click.Context(cli), verb)
        assert "json" in {parameter.name for parameter in command.params}

    def test_help_lists_every_verb(self, capsys):
        assert run(["--help"]) == 0
        out = capsys.readouterr().out
        assert all(f"  {verb}" in out and summary in out for verb, (_, summary) in VERBS.items())

    def test_an_unknown_verb_is_misuse_and_the_right_one_is_guessed(self, capsys):
        assert run(["serch", "x"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "no verb 'serch'; did you mean 'search'?" in err

    def test_an_unknown_option_is_misuse_and_help_is_the_next_step(self, capsys):
        assert run(["index", "--colour"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error      No such option")
        assert err.endswith("next       lsr index --help\n")

    def test_the_module_runs_as_the_script_does(self):
        done = subprocess.run(
            [sys.executable, "-m", "lsr", "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("lsr-search ")


class TestErrors:
    def test_an_error_is_one_line_without_traceback(self, capsys):
        assert run(["search", "none.index", "x"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error      none.index: no such directory")
        assert "Traceback" not in err

    def test_the_traceback_is_there_for_who_asks(self, capsys, monkeypatch):
        monkeypatch.setenv("LSR_DEBUG", "1")
        assert run(["search", "none.index", "x"]) == 1
        assert "Traceback" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("error", "code", "says"),
        [
            (KeyboardInterrupt(), 130, "stopped"),
            (ZeroDivisionError("by zero"), 1, "ZeroDivisionError: by zero. This is a defect"),
            (PermissionError(13, "Permission denied", "/x"), 1, "error      /x: Permission denied"),
        ],
    )
    def test_whatever_happens_there_is_a_code_and_a_line(
        self, error, code, says, capsys, monkeypatch
    ):
        def fail(*_args, **_options):
            raise error

        monkeypatch.setattr("index.Index.open", fail)
        assert run(["search", "some.index", "x"]) == code
        err = capsys.readouterr().err
        assert says in err
        assert "Traceback" not in err

    def test_a_reader_that_leaves_early_is_no_error(self, index):
        """`lsr search ... | head -1` must not end in a traceback."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as closed:
            done = subprocess.run(
                [sys.executable, "-m", "lsr", "search", str(index), "tea"],
                stdout=closed,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert (done.returncode, done.stderr) == (1, "")


class TestIndex:
    def test_it_says_what_it_did_and_what_comes_next(self, corpus, tmp_path, capsys):
        path = str(tmp_path / "new.index")
        assert run(["index", str(corpus), path]) == 0
        out, err = capsys.readouterr()
        facts = lines_of(out)
        assert facts["encoded"].startswith("4 documents ")
        assert "8-bit impacts" in facts["wrote"]
        assert out.splitlines()[-1] == f'next       lsr search {path} "your question"'
        assert lines_of(err)["fitted"].startswith("bm25 ")

    def test_json_has_the_counts(self, corpus, capsys):
        assert run(["index", str(corpus), "new.index", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["n_docs"], report["n_empty"], report["encoder"]) == (4, 0, "bm25")

    def test_an_existing_index_is_kept_unless_told_otherwise(self, corpus, index, capsys):
        assert run(["index", str(corpus), str(index)]) == 2
        assert "--overwrite" in capsys.readouterr().err
        corpus.write_text('{"_id": "only", "text": "one"}\n')
        assert run(["index", str(corpus), str(index), "--overwrite", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n_docs"] == 1

    def test_an_empty_corpus_is_an_error_and_leaves_nothing_searchable(self, tmp_path, capsys):
        (tmp_path / "none.jsonl").touch()
        assert run(["index", "none.jsonl", "none.index"]) == 1
        told = capsys.readouterr().err
        assert "error      none.jsonl: the corpus has no documents" in told
        assert "fitted" not in told
        assert not (tmp_path / "none.index").exists()

    @pytest.mark.parametrize("options", [(), ("--shards", "2"), ("--encoder", "lsr-mini")])
    def test_a_corpus_without_any_text_is_refused_with_the_keys_it_has(
        self, options, tmp_path, capsys
    ):
        """It became an index that no search found anything in, and exit code 0."""
        (tmp_path / "c.jsonl").write_text(
            '{"_id": "1", "body": "hello world"}\n{"_id": "2", "body": "bye", "text": " "}\n'
        )
        assert run(["index", "c.jsonl", "c.index", *options]) == 1
        told = capsys.readouterr().err
        assert "c.jsonl: none of 2 documents has any text" in told
        assert "under 'title' or 'text', got the keys body, text beside the id" in told
        assert "jq -c '.text = .body'" in told
        assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]

    @pytest.mark.parametrize("options", [(), ("--shards", "2"), ("--encoder", "lsr-mini")])
    def test_the_fields_that_are_read_can_be_named(self, options, tmp_path, capsys):
        """`lsr queries` could and `lsr index` could not: the corpus had to be written anew."""
        rows = [{"_id": "a", "body": "green tea", "kind": "drink", "text": "nothing"}]
        rows += [{"_id": "b", "body": "sleep", "kind": "rest", "text": "nothing"}]
        (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        fields = ("--text-field", "kind", "--text-field", "body", "--text-field", "boddy")
        assert run(["index", "c.jsonl", "c.index", *options, *fields]) == 0
        told = lines_of(capsys.readouterr().err)["field"]
        assert told == "boddy: in 0 of 2 documents; they have body, kind, text"
        with Index.open("c.index", read_only=True) as opened:
            assert opened.encoder.text_fields == ("kind", "body", "boddy")
        found = {}
        for text in ("tea", "drink", "nothing"):
            assert run(["search", "c.index", text]) == 0
            found[text] = capsys.readouterr().out.splitlines()
        assert [found[text][1].split()[-1] for text in ("tea", "drink")] == ["a", "a"]
        assert found["tea"][2].strip() == "drink green tea"
        assert found["nothing"][1].startswith("found      nothing")

    @pytest.mark.parametrize("options", [(), ("--shards", "2")])
    def test_named_fields_that_hold_no_text_are_refused(self, options, corpus, tmp_path, capsys):
        words = ["index", str(corpus), "c.index", *options, "--text-field", "year"]
        assert run([*words, "--text-field", "body"]) == 1
        told = capsys.readouterr().err
        assert "none of 4 documents has any text; wanted a string under 'year' or 'body'" in told
        assert "--text-field title" in told
        assert not Path("c.index").exists()

    def test_documents_whose_text_lies_elsewhere_than_their_title_are_told_of(
        self, tmp_path, capsys
    ):
        (tmp_path / "c.csv").write_text("id,title,body\n1,Fees,due after 30 days\n2,Pay,in cash\n")
        assert run(["index", "c.csv", "c.index"]) == 0
        told = lines_of(capsys.readouterr().err)["field"]
        assert told == (
            "text: in 0 of 2 documents, so title alone is read; they have body: --text-field title "
            "--text-field body"
        )
        assert run(["index", "c.csv", "d.index", "--text-field", "title"]) == 0
        assert "field" not in lines_of(capsys.readouterr().err)

    def test_a_folder_of_texts_may_hold_its_own_index(self, tmp_path, capsys, monkeypatch):
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "fees.md").write_text("# Late fees")
        (tmp_path / "notes" / "bill.pdf").write_text("x")
        monkeypatch.chdir(tmp_path / "notes")
        for name in ("a.index", "b.index"):
            assert run(["index", ".", name]) == 0
            told = capsys.readouterr()
            assert lines_of(told.out)["encoded"].startswith("1 document ")
            assert "1 text; 1 other file is left out, such as bill.pdf" in told.err

    @pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.csv.gz"])
    def test_cells_of_declared_fields_are_values_of_their_kind(self, name, tmp_path, capsys):
        rows = (
            ("id", "text", "year", "new", "price", "day", "lang"),
            ("1", "late fees", "2020", "true", "1.5", "2024-05-31", "en"),
            ("2", "fees", " 1990", "False", "2", "", ""),
            ("3", "fees", "", "", "", "", "de"),
        )
        mark = "\t" if "tsv" in name else ","
        text = "".join(mark.join(row) + "\n" for row in rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        kinds = ("year:int", "new:bool", "price:float", "day:date", "lang:keyword")
        fields = [word for kind in kinds for word in ("--field", kind)]
        for index, more in (("c.index", ()), ("d.index", ("--shards", "2"))):
            assert run(["index", name, index, *fields, *more]) == 0, capsys.readouterr().err
            for condition, found in (
                ("year<2000", ["2"]),
                ("new=true", ["1"]),
                ("price>=1.5", ["1", "2"]),
                ("day>2024-01-01", ["1"]),
                ("lang=de", ["3"]),
            ):
                capsys.readouterr()
                assert run(["search", index, "fees", "--filter", condition, "--json"]) == 0
                hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
                assert sorted(hit["doc_id"] for hit in hits) == found, condition

    def test_a_cell_that_is_no_value_of_its_kind_is_told(self, tmp_path, capsys):
        (tmp_path / "c.csv").write_text("id,text,year\n1,Fees,soon\n")
        assert run(["index", "c.csv", "c.index", "--field", "year:int"]) == 2
        told = capsys.readouterr().err
        assert "document '1': field 'year' is 'soon'; it was declared int" in told

    def test_a_declared_field_that_no_document_has_is_told(self, corpus, tmp_path, capsys):
        """A misspelt name was found out by filters that let nothing pass."""
        fields = ("--field", "language:keyword", "--field", "year:int")
        assert run(["index", str(corpus), "drinks.index", *fields]) == 0
        told = lines_of(capsys.readouterr().err)["field"]
        assert told == "language: in 0 of 4 documents; they have title, text, lang, year"

    @pytest.mark.parametrize("options", [(), ("--shards", "2"), ("--memory", "1MiB")])
    def test_repeated_ids_are_an_error_of_the_file_with_its_lines(self, options, tmp_path, capsys):
        """It was misuse of `document 1` "in one batch", which names no place to look at."""
        (tmp_path / "twice.tsv").write_text("b\ttea\na\tone\na\ttwo\nc\tthree\n")
        assert run(["index", "twice.tsv", "twice.index", *options]) == 1
        told = capsys.readouterr().err
        assert "twice.tsv:3: the id 'a' occurs twice, first in line 2" in told
        assert not (tmp_path / "twice.index").exists()

    def test_repeated_ids_of_a_collection_are_placed_in_its_corpus_file(self, drinks, capsys):
        with (drinks / "corpus.jsonl").open("a") as file:
            file.write('{"_id": "a", "text": "again"}\n')
        assert run(["evaluate", "drinks"]) == 1
        assert "drinks/corpus.jsonl:5: the id 'a' occurs twice" in capsys.readouterr().err

    def test_an_id_too_long_is_an_error_of_the_file_with_its_line(self, tmp_path, capsys):
        (tmp_path / "long.tsv").write_text(f"a\tone\n{5000 * 'x'}\ttwo\n")
        assert run(["index", "long.tsv", "long.index"]) == 1
        assert "long.tsv:2: '_id' has 5,000 bytes, wanted at most 4,096" in capsys.readouterr().err

    def test_an_interruption_says_that_the_same_command_goes_on(self, corpus, capsys, monkeypatch):
        def interrupted(*_args, **_options):
            raise KeyboardInterrupt

        monkeypatch.setattr("index.build_index", interrupted)
        assert run(["index", str(corpus), "new.index"]) == 130
        assert "the same command goes on" in capsys.readouterr().err

    def test_the_precision_is_part_of_what_a_build_goes_on_with(self, drinks, monkeypatch):
        assert run(["index", str(drinks), "d.index"]) == 0
        sources = []

        def interrupted(*_args, source, **_options):
            sources.append(source)
            raise KeyboardInterrupt

        monkeypatch.setattr("index.build_index", interrupted)
        command = ["index", str(drinks), "new.index", "--encoder", "d.index/encoder"]
        for precision in ("float32", "bfloat16", "float32"):
            assert run([*command, "--precision", precision]) == 130
        assert sources[0] == sources[2] != sources[1]

    def test_documents_without_any_term_are_counted(self, tmp_path, capsys):
        (tmp_path / "c.tsv").write_text("a\tone\nb\t\n")
        assert run(["index", "c.tsv", "c.index"]) == 0
        assert lines_of(capsys.readouterr().out)["empty"].startswith("1 document without any term")

    def test_the_message_about_a_files_name_lists_all_that_are_read(self, tmp_path, capsys):
        """It left out .txt, which was read all the same."""
        (tmp_path / "c.xml").write_text("<a/>\n")
        assert run(["index", "c.xml", "c.index"]) == 1
        names = (
            ".jsonl, .json, .ndjson (JSON lines), .tsv or .txt (id<TAB>text), .csv (a header, then "
            "rows), .parquet"
        )
        assert f"c.xml  (a file that is not named {names})" in capsys.readouterr().err
        for suffix in (".jsonl", ".json", ".ndjson", ".tsv", ".txt"):
            line = '{"_id": "a", "text": "x"}\n' if "js" in suffix else "a\tx\n"
            (tmp_path / f"c{suffix}").write_text(line)
            assert run(["index", f"c{suffix}", f"c{suffix}.index"]) == 0

    def test_a_bad_line_stops_the_build_with_its_number(self, tmp_path, capsys):
        (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "x"}\n{broken\n')
        assert run(["index", "c.jsonl", "c.index"]) == 1
        assert "c.jsonl:2: not JSON" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            (["--field", "lang"], "wanted NAME:KIND"),
            (["--field", "lang:text"], "wanted NAME:KIND"),
            (["--passages", "many"], "wanted LENGTH/OVERLAP"),
            (["--passages", "8/5"], "half of the length at most"),
            (["--memory", "lots"], "lots"),
            (["--encoder", "folder", "--k1", "2"], "--k1 belongs to bm25"),
            (["--k1", "-1"], "wants k1 from 0 to 500 and b from 0 to 1, got k1 = -1.0, b = 0.4"),
            (["--b", "nan", "--shards", "2"], "got k1 = 0.9, b = nan"),
            (["--stemmer", "klingon"], "stemmer"),
        ],
    )
    def test_options_that_mean_nothing_are_misuse(self, options, complaint, corpus, capsys):
        assert run(["index", str(corpus), "new.index", *options]) == 2
        assert complaint in capsys.readouterr().err

    def test_an_encoder_that_is_not_there_is_named(self, corpus, capsys):
        assert run(["index", str(corpus), "new.index", "--encoder", "nowhere"]) == 1
        assert "nowhere: no such folder" in capsys.readouterr().err

    def test_the_bm25_options_reach_the_encoder(self, corpus, tmp_path, capsys):
        options = ["--k1", "1.5", "--b", "0.75", "--keep-stopwords", "--stemmer", "none"]
        assert run(["index", str(corpus), "new.index", *options]) == 0
        settings = json.loads((tmp_path / "new.index" / "encoder" / "bm25.json").read_text())
        assert (settings["k1"], settings["b"]) == (1.5, 0.75)
        assert settings["analyser"] == {"stemmer": "none", "stop_words": False}

    def test_passages_are_found_as_documents(self, tmp_path, capsys):
        text = " ".join(["filler"] * 30 + ["needle"] + ["filler"] * 30)
        (tmp_path / "c.tsv").write_text(f"long\t{text}\nshort\tfiller only\n")
        assert run(["index", "c.tsv", "c.index", "--passages", "10/2"]) == 0
        assert "passages" in lines_of(capsys.readouterr().out)["encoded"]
        assert run(["search", "c.index", "needle", "--json"]) == 0
        hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
        assert [hit["doc_id"] for hit in hits] == ["long"]
        passage = hits[0]["passage"]
        assert "needle" in passage["text"]
        assert len(passage["text"].split()) == 10
        assert passage["text"] == text[passage["start"] : passage["end"]]
        assert run(["search", "c.index", "needle"]) == 0
        assert "needle filler" in capsys.readouterr().out, "the snippet is what was found"


class TestSearch:
    def test_people_see_rank_score_id_title_and_matching_terms(self, index, capsys):
        assert run(["search", str(index), "green tea"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert "query      green tea" in out
        first = out.splitlines()[1].split()
        assert (first[0], first[2], first[3:]) == ("1", "a", ["Green", "tea"])
        assert "[green " in out or "[tea " in out
        assert out.splitlines()[-1] == f'next       lsr search {index} "green tea" --explain'

    def test_machines_get_scores_that_the_terms_add_up_to(self, index, capsys):
        assert run(["search", str(index), "caffeine tea", "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        hits = answer["queries"][0]["hits"]
        assert [hit["rank"] for hit in hits] == [1, 2, 3]
        assert hits[0]["doc_id"] == "a"
        assert hits[0]["fields"] == {k: v for k, v in DOCUMENTS[0].items() if k != "_id"}
        for hit in hits:
            assert hit["score"] == pytest.approx(sum(t["score"] for t in hit["terms"]), rel=1e-6)
            for term in hit["terms"]:
                product = term["query_weight"] * term["doc_weight"]
                assert term["score"] == pytest.approx(product, rel=1e-6)

    def test_explain_shows_each_product(self, index, capsys):
        assert run(["search", str(index), "sleep", "--explain"]) == 0
        assert "query x" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            (["lang=de"], {"c"}),
            (["lang=en"], {"a", "b"}),
            (["year>=2005"], {"b", "c"}),
            (["year<2005"], {"a"}),
            (["year>1990", "year<2011"], {"b"}),
            (["lang=en", "year=2005"], {"b"}),
            (["lang=fr"], set()),
        ],
    )
    def test_filters_choose_before_ranking(self, filters, found, index, capsys):
        options = [option for text in filters for option in ("--filter", text)]
        assert run(["search", str(index), "caffeine", "--json", *options]) == 0
        hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
        assert {hit["doc_id"] for hit in hits} == found

    def test_words_can_be_required_and_excluded(self, index, capsys):
        options = ["--require", "tea", "--exclude", "gruener"]
        assert run(["search", str(index), "caffeine", "--json", *options]) == 0
        hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
        assert [hit["doc_id"] for hit in hits] == ["a"]

    def test_an_approximate_answer_shows_its_certificate(self, index, capsys):
        assert run(["search", str(index), "caffeine", "--recall", "0.9"]) == 0
        assert "certificate exact: nothing left alone can enter" in capsys.readouterr().out
        assert run(["search", str(index), "caffeine", "--timeout", "1e-9", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)["queries"][0]["report"]
        assert (report["mode"], report["exact"], report["stopped"]) == ("exact", False, True)

    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["x", "--require", "the"], "makes no term of it"),
            (["x", "--recall", "2"], "recall = 2.0"),
            (["x", "--recall", "0.9", "--pages", "3"], "a recall or a number of pages"),
            (["x", "--timeout", "0"], "timeout = 0.0"),
            (["x", "--filter", "lang"], "wanted FIELD=VALUE"),
            (["x", "--filter", "year=soon"], "'soon' is no int"),
            (["x", "--filter", "size=3"], "size"),
            (["x", "-k", "0"], "k = 0"),
            (["x", "-k", "-5"], "k = -5"),
            ([], "wanted one or more texts"),
            (["x", "--queries", "q.tsv"], "not both"),
            (["x", "--output", "run.trec", "--json"], "has no place for what"),
            (["x", "--output", "run.trec", "--explain"], "has no place for what"),
            (["x", "--filter", "year!=2001"], "wanted FIELD=VALUE, FIELD>=VALUE"),
            (["x", "--filter", "=2001"], "wanted FIELD=VALUE, FIELD>=VALUE"),
        ],
    )
    def test_questions_that_mean_nothing_are_misuse(self, arguments, complaint, index, capsys):
        assert run(["search", str(index), *arguments]) == 2
        assert complaint in capsys.readouterr().err
        assert not Path("run.trec").exists()

    @pytest.mark.parametrize("text", ["", "zzz", "the", "!?"])
    def test_a_query_that_matches_nothing_says_so(self, text, index, capsys):
        assert run(["search", str(index), text]) == 0
        assert "found      nothing" in capsys.readouterr().out

    @pytest.mark.parametrize("build", [(), ("--shards", "2"), ("--encoder", "lsr-mini")])
    def test_words_of_a_query_that_no_document_has_are_named(self, build, corpus, capsys):
        """Only a query of which no word matched was told; beside one that did, the rest went by."""
        assert run(["index", str(corpus), "words.index", *build]) == 0
        capsys.readouterr()
        assert run(["search", "words.index", "The tea, guitar and pizza?", "sleep guitar"]) == 0
        out, err = capsys.readouterr()
        assert err == "unmatched  guitar, pizza: no document has a term of these words\n"
        assert out.splitlines()[1].split()[2] == "a"
        assert run(["search", "words.index", "tea guitar", "--json"]) == 0
        answer, err = capsys.readouterr()
        assert (err, set(json.loads(answer)["queries"][0])) == (
            "",
            {"query_id", "text", "hits", "report"},
        )
        assert run(["search", "words.index", "guitar"]) == 0
        out, err = capsys.readouterr()
        assert ("found      nothing" in out, err) == (True, "")

    def test_k_beyond_the_corpus_gives_all_that_match(self, index, capsys):
        assert run(["search", str(index), "caffeine", "-k", "1000000", "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["queries"][0]["hits"]) == 3

    def test_several_texts_are_answered_in_their_order(self, index, capsys):
        assert run(["search", str(index), "sleep", "coffee", "--json"]) == 0
        answers = json.loads(capsys.readouterr().out)["queries"]
        assert [(a["text"], a["hits"][0]["doc_id"]) for a in answers] == [
            ("sleep", "d"),
            ("coffee", "b"),
        ]

    def test_a_file_of_queries_becomes_a_trec_run(self, index, tmp_path, capsys):
        (tmp_path / "q.tsv").write_text("q1\tsleep\nq2\tcaffeine\nq3\tzzz\n")
        assert run(["search", str(index), "--queries", "q.tsv", "--output", "run.trec"]) == 0
        written = read_run(tmp_path / "run.trec")
        assert [doc_id for doc_id, _ in written.ranked("q1")] == ["d"]
        assert set(written["q2"]) == {"a", "b", "c"}
        assert "q3" not in written

    def test_both_algorithms_print_the_same(self, index, capsys):
        answers = []
        for algorithm in ("exhaustive", "blockmax"):
            assert run(["search", str(index), "caffeine", "--json", "--algorithm", algorithm]) == 0
            answers.append(json.loads(capsys.readouterr().out)["queries"])
        assert answers[0] == answers[1]

    def test_control_characters_of_a_corpus_do_not_reach_the_terminal(self, tmp_path, capsys):
        document = {"_id": "x\x1b[2J", "title": "red \x1b[31m", "text": "\x07 alarm"}
        (tmp_path / "c.jsonl").write_text(json.dumps(document) + "\n")
        assert run(["index", "c.jsonl", "c.index"]) == 0
        assert run(["search", "c.index", "alarm"]) == 0
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert "\x07" not in out


class TestEvaluate:
    def test_the_row_has_measures_fingerprints_and_the_command(self, drinks, capsys):
        """Each of q1, q2 and q4 finds its one document first; q3 finds none and counts as 0."""
        assert run(["evaluate", str(drinks), "--json"]) == 0
        row = json.loads(capsys.readouterr().out)
        assert row["measures"] == dict.fromkeys(("nDCG@10", "RR@10", "R@100", "R@1000", "AP"), 0.75)
        assert (row["n_queries"], row["n_unanswered"], row["n_docs"]) == (4, 1, 4)
        assert row["command"] == f"lsr evaluate {drinks} --encoder bm25"
        for name in ("dataset_fingerprint", "encoder_build", "index_fingerprint"):
            assert len(row[name]) == 16
        assert row["terms_per_document"] > 1
        assert row["terms_per_query"] == 1.0
        # Each of four queries has one word; a fourth of them meets each document with that word.
        texts = [f"{d['title']} {d['text']}".lower() for d in DOCUMENTS]
        meetings = sum(word in text for word in ("tea", "sleep", "zzz", "coffee") for text in texts)
        assert row["flops"] == pytest.approx(meetings / 4 / 4)

    def test_people_see_a_table_and_the_command(self, drinks, capsys):
        assert run(["evaluate", str(drinks)]) == 0
        out = capsys.readouterr().out
        assert out.splitlines()[0].split()[:5] == [
            "dataset",
            "system",
            "nDCG@10",
            "MRR@10",
            "R@100",
        ]
        assert out.splitlines()[1].split()[:3] == ["drinks", "bm25", "0.7500"]
        assert lines_of(out)["command"] == f"lsr evaluate {drinks} --encoder bm25"

    def test_the_index_is_built_once_and_found_again(self, drinks, capsys):
        assert run(["evaluate", str(drinks)]) == 0
        first = capsys.readouterr()
        assert "indexed" in first.err
        assert run(["evaluate", str(drinks)]) == 0
        second = capsys.readouterr()
        assert second.err == ""
        assert second.out.splitlines()[:2] == first.out.splitlines()[:2]

    def test_other_settings_or_other_documents_build_another_index(self, drinks, capsys):
        assert run(["evaluate", str(drinks)]) == 0
        assert run(["evaluate", str(drinks), "--k1", "2"]) == 0
        with (drinks / "corpus.jsonl").open("a") as file:
            file.write('{"_id": "e", "text": "more"}\n')
        capsys.readouterr()
        assert run(["evaluate", str(drinks), "--json"]) == 0
        out, err = capsys.readouterr()
        assert "indexed" in err
        assert json.loads(out)["n_docs"] == 5

    def test_a_given_index_and_a_written_run_agree(self, drinks, tmp_path, capsys):
        assert run(["index", str(drinks), "d.index"]) == 0
        capsys.readouterr()
        assert run(["evaluate", str(drinks), "--index", "d.index", "--run", "r.gz", "--json"]) == 0
        searched = json.loads(capsys.readouterr().out)
        assert run(["evaluate", str(drinks), "--from-run", "r.gz", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["measures"] == searched["measures"]

    def test_per_query_values_are_given_on_request(self, drinks, capsys):
        options = ["--json", "--per-query", "--measure", "RR@10"]
        assert run(["evaluate", str(drinks), *options]) == 0
        row = json.loads(capsys.readouterr().out)
        assert row["per_query"] == {"RR@10": {"q1": 1.0, "q2": 1.0, "q3": 0.0, "q4": 1.0}}

    @pytest.mark.parametrize(
        ("arguments", "code", "complaint"),
        [
            (["--split", "dev"], 1, "no split 'dev'"),
            (["--measure", "ndcg10"], 2, "no measure 'ndcg10'"),
            (["--index", "a", "--from-run", "b"], 2, "give one"),
            (["--from-run", "none.trec"], 1, "none.trec: cannot be read"),
        ],
    )
    def test_what_cannot_be_measured_is_said(self, arguments, code, complaint, drinks, capsys):
        assert run(["evaluate", str(drinks), *arguments]) == code
        assert complaint in capsys.readouterr().err

    def test_relevant_documents_that_an_index_lacks_are_counted(self, drinks, tmp_path, capsys):
        (tmp_path / "some.tsv").write_text("a\tstrong coffee\nz\tother\n")
        assert run(["index", "some.tsv", "some.index"]) == 0
        capsys.readouterr()
        assert run(["evaluate", str(drinks), "--index", "some.index"]) == 0
        told = lines_of(capsys.readouterr().err)["missing"]
        assert re.match(r"\d of \d relevant documents of drinks are not in .*some.index", told)

    def test_an_unknown_collection_lists_what_there_is(self, capsys):
        assert run(["evaluate", "nope"]) == 1
        assert "Available by name: python-docs" in capsys.readouterr().err


class TestEncode:
    def test_lines_hold_terms_and_weights(self, corpus, tmp_path, capsys):
        assert run(["encode", str(corpus), "v.jsonl"]) == 0
        assert lines_of(capsys.readouterr().out)["encoded"].startswith("4 documents ")
        rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
        assert set(rows[3]["vector"]) == {"sleep", "peopl", "night"}
        assert all(0 < weight < 1 for row in rows for weight in row["vector"].values())

    def test_a_folder_holds_a_matrix_its_ids_and_its_encoder(self, corpus, tmp_path, capsys):
        assert run(["encode", str(corpus), "vectors", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        matrix = sparse.load_npz(tmp_path / "vectors" / "vectors.npz")
        assert (tmp_path / "vectors" / "ids.txt").read_text().split() == ["a", "b", "c", "d"]
        assert (report["rows"], report["weights"]) == (4, matrix.nnz)
        assert matrix.dtype == np.float32
        card = json.loads((tmp_path / "vectors" / "encoder.json").read_text())
        assert (card["n_terms"], card["rows"]) == (matrix.shape[1], 4)

    def test_the_next_step_reads_the_vectors_and_does_not_make_them_again(self, drinks, capsys):
        """It was `lsr index CORPUS`, which encodes the corpus anew."""
        assert run(["index", str(drinks), "d.index"]) == 0
        assert run(["encode", str(drinks), "v.jsonl.gz", "--encoder", "d.index/encoder"]) == 0
        told = lines_of(capsys.readouterr().out)["next"]
        assert told == "lsr import v.jsonl.gz drinks.index --from jsonl --encoder d.index/encoder"
        assert run(shlex.split(told)[1:]) == 0
        hits = []
        for name in ("d.index", "drinks.index"):
            capsys.readouterr()
            assert run(["search", name, "tea caffeine", "--json"]) == 0
            rows = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
            hits.append([(row["doc_id"], row["score"]) for row in rows])
        assert hits[0] == hits[1]
        assert run(["encode", str(drinks), "fitted.jsonl"]) == 0
        told = lines_of(capsys.readouterr().out)["next"]
        assert told == "lsr import fitted.jsonl drinks.index --from jsonl"
        assert run([*shlex.split(told)[1:], "--overwrite"]) == 0

    def test_a_folder_of_vectors_says_what_reads_it(self, drinks, capsys):
        options = ["--encoder", "d.index/encoder"]
        assert run(["index", str(drinks), "d.index"]) == 0
        for name, more, takes in (("v", [], "add"), ("q", ["--queries"], "search_batch")):
            assert run(["encode", str(drinks), name, *options, *more]) == 0
            told = lines_of(capsys.readouterr().out)["next"]
            assert told == (
                f"scipy.sparse.load_npz('{name}/vectors.npz'): a row for each line of ids.txt, as "
                f"Index.{takes} takes them"
            )
        with Index.open("d.index") as opened:
            ids = Path("v/ids.txt").read_text().split()
            before = opened.search_batch(sparse.load_npz("q/vectors.npz"), 3)
            opened.add([Document(name) for name in ids], sparse.load_npz("v/vectors.npz"))
            after = opened.search_batch(sparse.load_npz("q/vectors.npz"), 3)
        assert [list(hits) for hits in before] == [list(hits) for hits in after]

    def test_queries_are_encoded_by_the_encoder_of_an_index(self, drinks, tmp_path, capsys):
        assert run(["index", str(drinks), "d.index"]) == 0
        encoder = ["--encoder", "d.index/encoder"]
        assert run(["encode", str(drinks), "q.jsonl", "--queries", *encoder]) == 0
        rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == ["q1", "q2", "q3", "q4"]
        assert list(rows[0]["vector"]) == ["tea"]
        (tmp_path / "more.tsv").write_text("x\tcoffee\n")
        assert run(["encode", "more.tsv", "more.jsonl", "--queries", *encoder]) == 0
        assert json.loads((tmp_path / "more.jsonl").read_text())["id"] == "x"

    def test_nothing_is_overwritten_by_accident(self, corpus, tmp_path, capsys):
        (tmp_path / "v.jsonl").write_text("mine")
        (tmp_path / "folder").mkdir()
        assert run(["encode", str(corpus), "v.jsonl"]) == 2
        assert run(["encode", str(corpus), "folder", "--overwrite"]) == 2
        assert (tmp_path / "v.jsonl").read_text() == "mine"
        assert run(["encode", str(corpus), "v.jsonl", "--overwrite"]) == 0

    @pytest.mark.parametrize("name", ["v.jsonl", "v"])
    def test_it_goes_on_after_a_kill_with_what_was_encoded(self, name, drinks, capsys, monkeypatch):
        assert run(["index", str(drinks), "d.index"]) == 0
        monkeypatch.setattr("lsr.encoded_parts.PIECE", 2)
        command = ["encode", str(drinks), name, "--encoder", "d.index/encoder", "--json"]
        real, asked = BM25Encoder.encode_documents, []

        def encode(self, texts, **settings):
            if len(asked) == 1:
                raise KeyboardInterrupt
            asked.append(list(texts))
            return real(self, texts, **settings)

        monkeypatch.setattr(BM25Encoder, "encode_documents", encode)
        assert run(command) == 130
        assert "the same command goes on from there" in capsys.readouterr().err
        assert not Path(name).exists()
        assert len(list(Path(f"{name}.parts").rglob("*.npz"))) == 1
        whole = asked.pop()
        monkeypatch.setattr(
            BM25Encoder,
            "encode_documents",
            lambda self, texts: asked.append(texts) or real(self, texts),
        )
        assert run(command) == 0
        report = json.loads(capsys.readouterr().out)
        told = [text for texts in asked for text in texts]
        assert len(told) == report["rows"] - 2
        assert not set(whole) & set(told)
        assert not Path(f"{name}.parts").exists()
        file = "v.jsonl" if name == "v.jsonl" else "v/ids.txt"
        before = Path(file).read_bytes()
        assert run([*command, "--overwrite"]) == 0
        assert Path(file).read_bytes() == before

    def test_a_damaged_piece_is_named(self, drinks, capsys, monkeypatch):
        assert run(["index", str(drinks), "d.index"]) == 0
        monkeypatch.setattr("lsr.encoded_parts.PIECE", 2)
        command = ["encode", str(drinks), "v.jsonl", "--encoder"]

        def fail(output, batches, encoder):
            assert len(list(batches)) == 2
            raise OSError("no room")

        with monkeypatch.context() as patched:
            patched.setattr("lsr.commands.encode._write_lines", fail)
            assert run([*command, "d.index/encoder"]) == 1
        damaged = sorted(Path("v.jsonl.parts").rglob("*.npz"))[1]
        raw = damaged.read_bytes()
        damaged.write_bytes(raw[:90] + bytes([raw[90] ^ 1]) + raw[91:])
        capsys.readouterr()
        assert run([*command, "d.index/encoder"]) == 1
        assert f"{damaged.name}: damaged" in capsys.readouterr().err
        damaged.unlink()
        assert run([*command, "d.index/encoder"]) == 0
        assert not Path("v.jsonl.parts").exists()

    def test_a_folder_of_somebody_where_pieces_would_wait_stays(self, drinks, tmp_path, capsys):
        assert run(["index", str(drinks), "d.index"]) == 0
        (tmp_path / "v.parts").mkdir()
        (tmp_path / "v.parts" / "thesis.txt").write_text("mine")
        command = ["encode", str(drinks), "v", "--encoder", "d.index/encoder"]
        assert run(command) == 0
        assert "1 entry in" in capsys.readouterr().err
        assert [path.name for path in (tmp_path / "v.parts").iterdir()] == ["thesis.txt"]
        (tmp_path / "w.parts").write_text("mine")
        assert run([*command[:2], "w", *command[3:]]) == 2
        assert (
            "wanted a folder there to encode into it, and none can be made"
            in capsys.readouterr().err
        )

    @pytest.mark.parametrize("encoder", ["bm25", "d.index/encoder"])
    @pytest.mark.parametrize("name", ["v", "v.jsonl"])
    def test_two_do_not_encode_into_one_place(
        self, name, encoder, drinks, tmp_path, monkeypatch, capsys
    ):
        assert run(["index", str(drinks), "d.index"]) == 0
        command = ["encode", str(drinks), name, "--encoder", encoder]
        with reserved(tmp_path / f"{name}.parts"):
            assert run(command) == 1
            assert "another process holds it to encode into it" in capsys.readouterr().err
        load = EncoderChoice.load

        def while_another_finishes(self, corpus):
            monkeypatch.setattr(EncoderChoice, "load", load)
            assert run(command) == 0
            return self.load(corpus)

        monkeypatch.setattr(EncoderChoice, "load", while_another_finishes)
        assert run(command) == 2
        assert "exists; choose another path" in capsys.readouterr().err

    def test_pieces_of_other_settings_are_neither_taken_up_nor_removed(
        self, drinks, tmp_path, monkeypatch, capsys
    ):
        """They held nothing of the windows, say, and vectors of both were mixed."""
        assert run(["index", str(drinks), "d.index"]) == 0
        assert run(["index", str(drinks), "e.index", "--k1", "2"]) == 0
        monkeypatch.setattr("lsr.encoded_parts.PIECE", 2)
        changes = (
            ["--encoder", "d.index/encoder"],
            ["--encoder", "d.index/encoder", "--precision", "bfloat16"],
            ["--encoder", "e.index/encoder"],
        )
        encode = BM25Encoder.encode_documents
        monkeypatch.setattr(EncoderChoice, "_windowed", lambda self: load_encoder(self.encoder))
        kept = set()
        for change in (*changes, ["--encoder", "d.index/encoder", "--windows", "3"]):
            calls = iter(range(2))

            def once(self, texts, calls=calls):
                if next(calls):
                    raise OSError("no room")
                return encode(self, texts)

            monkeypatch.setattr(BM25Encoder, "encode_documents", once)
            assert run(["encode", str(drinks), "v", *change]) == 1
            assert "the same command goes on from there" in capsys.readouterr().err
            now = set((tmp_path / "v.parts").rglob("*.npz"))
            assert len(now - kept) == 1
            assert kept < now
            kept = now
        monkeypatch.setattr(BM25Encoder, "encode_documents", encode)
        assert run(["encode", str(drinks), "v", *changes[0]]) == 0
        assert "3 entries in" in capsys.readouterr().err
        assert len(kept & set((tmp_path / "v.parts").rglob("*.npz"))) == 3

    def test_links_are_no_folders_and_may_be_files(self, drinks, tmp_path, capsys):
        (tmp_path / "link").symlink_to("folder")
        assert run(["encode", str(drinks), "link", "--overwrite"]) == 2
        assert "is a link; name the folder" in capsys.readouterr().err
        (tmp_path / "v.jsonl").symlink_to("w.jsonl")
        assert run(["encode", str(drinks), "v.jsonl", "--overwrite"]) == 0
        assert '"vector"' in (tmp_path / "v.jsonl").read_text()

    def test_an_id_with_a_line_end_is_refused_before_anything_is_encoded(
        self, drinks, tmp_path, monkeypatch, capsys
    ):
        assert run(["index", str(drinks), "d.index"]) == 0
        (tmp_path / "c.jsonl").write_text(
            "".join(json.dumps({"_id": name, "text": "x"}) + "\n" for name in ("a", "b\nc"))
        )

        def encode(self, texts):
            raise AssertionError("it was refused too late")

        monkeypatch.setattr(BM25Encoder, "encode_documents", encode)
        assert run(["encode", "c.jsonl", "v", "--encoder", "d.index/encoder"]) == 1
        assert "holds a line end" in capsys.readouterr().err
        assert not (tmp_path / "v.parts").exists()

    def test_an_id_that_ids_txt_cannot_hold_is_refused(self, tmp_path, capsys):
        (tmp_path / "c.jsonl").write_text(json.dumps({"_id": "a\nb", "text": "x"}) + "\n")
        assert run(["encode", "c.jsonl", "vectors"]) == 1
        assert "holds a line end" in capsys.readouterr().err
        assert not (tmp_path / "vectors").exists()

    def test_queries_without_documents_cannot_fit_bm25(self, tmp_path, capsys):
        (tmp_path / "q.tsv").write_text("x\tcoffee\n")
        assert run(["encode", "q.tsv", "q.jsonl", "--queries"]) == 2
        assert "no documents to fit bm25 to" in capsys.readouterr().err
        Path("notes").mkdir()
        Path("notes/a.md").write_text("# A note")
        assert run(["encode", "notes", "q.jsonl", "--queries"]) == 1
        assert "a folder of text files has no queries" in capsys.readouterr().err


class TestTrain:
    @pytest.mark.parametrize(
        ("arguments", "complaint"),
        [
            (["smokes", "out"], "did you mean 'smoke'"),
            (["smoke", "out", "--set", "run.sed=2"], "sed"),
            (["smoke", "out", "--set", "seed"], "wanted KEY=VALUE"),
            (["smoke", "out", "--stop-after", "0"], "--stop-after"),
        ],
    )
    def test_what_cannot_be_trained_is_misuse(self, arguments, complaint, tmp_path, capsys):
        assert run(["train", *arguments]) == 2
        assert complaint in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_settings_reach_the_recipe_and_the_report_is_printed(self, monkeypatch, capsys):
        """Training itself is tested beside its code; here only what the verb adds."""
        seen = {}

        def train(recipe, output, *, resume, stop_after):
            seen.update(recipe=recipe, output=output, resume=resume, stop_after=stop_after)
            measured = Measured(2.5, 120.4, 1, 48) if stop_after is None else None
            return TrainReport(output, measured is not None, 9.5, 96, 48, measured, {"loss": 0.25})

        monkeypatch.setattr("training.train", train)
        assert run(["train", "smoke", "out", "--fresh", "--set", "run.seed=2"]) == 0
        assert (seen["recipe"].run.seed, seen["resume"]) == (2, False)
        facts = lines_of(capsys.readouterr().out)
        assert facts["trained"] == "96 queries          48 documents, 9.5 s so far"
        assert facts["last step"] == "loss 0.25"
        assert "120 terms each on average, 1 without any, max weight 2.5" in facts["measured"]
        assert facts["next"] == "lsr evaluate DATASET --encoder out"
        assert run(["train", "smoke", "out", "--set", "run.seed=2", "--stop-after", "1"]) == 0
        facts = lines_of(capsys.readouterr().out)
        assert "stopped" in facts
        assert facts["next"] == "lsr train smoke out --set run.seed=2"


class TestServe:
    @pytest.fixture
    def started(self, monkeypatch) -> dict:
        seen: dict = {}
        monkeypatch.setattr(
            "service.serve_settings",
            lambda settings, **options: seen.update(
                paths=dict(settings.indexes), encoders=dict(settings.encoders), **options
            ),
        )
        return seen

    def test_indexes_are_named_by_their_folders_or_as_told(self, started, tmp_path):
        assert run(["serve", "a/news.index", "b=c/blogs.index", "--port", "81"]) == 0
        assert started["paths"] == {"news": Path("a/news.index"), "b": Path("c/blogs.index")}
        assert (started["host"], started["port"]) == ("127.0.0.1", 81)

    def test_an_existing_path_may_hold_an_equals_sign(self, started, tmp_path):
        (tmp_path / "k=1" / "news.index").mkdir(parents=True)
        assert run(["serve", "k=1/news.index"]) == 0
        assert started["paths"] == {"news": Path("k=1/news.index")}

    def test_two_indexes_of_one_name_are_misuse(self, started, capsys):
        assert run(["serve", "a/news.index", "b/news.index"]) == 2
        assert "two indexes are called 'news'" in capsys.readouterr().err
        assert started == {}

    def test_an_encoder_belongs_to_a_served_index(self, started, capsys):
        assert run(["serve", "news.index", "--encoder", "news=runs/news"]) == 0
        assert started["encoders"] == {"news": Path("runs/news")}
        assert run(["serve", "news.index", "--encoder", "new=runs/news"]) == 2
        assert "one of news" in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [[], ["x.index", "--port", "70000"]])
    def test_other_misuse_is_told(self, arguments, started, capsys):
        assert run(["serve", *arguments]) == 2
        assert capsys.readouterr().err.startswith("error      ")


class TestCheckAndInfo:
    def test_a_sound_index_passes(self, index, capsys):
        assert run(["check", str(index)]) == 0
        assert capsys.readouterr().out.startswith("sound      ")
        assert run(["check", str(index), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[0]["sound"] is True

    def test_a_flipped_bit_fails_the_check(self, index, capsys):
        segment = next((index / "segments").glob("*.seg"))
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 1
        segment.write_bytes(content)
        assert run(["check", str(index)]) == 1
        out = capsys.readouterr().out
        assert out.startswith("damaged    ")
        assert out.splitlines()[-1] == f"next       lsr repair {index}"

    def test_a_catalog_that_is_none_fails_the_check(self, index, capsys):
        (index / "catalog.sqlite").write_bytes(b"not a database at all" * 500)
        assert run(["check", str(index), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)[0]["sound"] is False

    def test_what_cannot_be_looked_at_hides_no_damage_of_others(self, index, capsys):
        segment = next((index / "segments").glob("*.seg"))
        segment.write_bytes(segment.read_bytes()[:100])
        assert run(["check", "none.index", str(index)]) == 1
        out = capsys.readouterr().out
        assert out.startswith("unread     none.index: ")
        assert f"damaged    {index}: " in out
        assert run(["check", str(index), "none.index", "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert [one["sound"] for one in told] == [False, False]
        assert "no such directory" in told[1]["problems"][0]

    def test_check_of_nothing_is_an_error(self, capsys):
        assert run(["check", "none.index"]) == 1
        assert "no such directory" in capsys.readouterr().err

    def test_info_describes_an_index(self, index, capsys):
        assert run(["info", str(index), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["n_docs"], facts["fields"]) == (4, {"lang": "keyword", "year": "int"})
        assert run(["info", str(index)]) == 0
        assert "n_docs" in capsys.readouterr().out

    def test_info_describes_an_encoder(self, index, capsys):
        assert run(["info", str(index / "encoder")]) == 0
        out = capsys.readouterr().out
        assert "query_strategy  bm25" in out
        assert "--encoder" in out.splitlines()[-1]

    def test_info_describes_the_installation(self, capsys):
        assert run(["info", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert set(facts["extras"]) == {"train", "dense", "lucene", "ray", "datasets"}
        assert facts["core"]
        assert facts["cache"].endswith("cache")

    def test_info_of_something_else_says_what_it_wanted(self, tmp_path, capsys):
        assert run(["info", str(tmp_path)]) == 2
        assert "neither an index" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["search", "drinks.jsonl", "tea"], "is a file, wanted the folder of an index"),
        (["check", "http://127.0.0.1:8000/docs"], "of addresses, `lsr search` alone takes one"),
        (["trace", "INDEX"], "BM25 has none"),
    ],
)
def test_a_mistake_is_told_in_its_own_words(command, says, index, corpus, capsys):
    assert run([str(index) if word == "INDEX" else word for word in command]) != 0
    told = capsys.readouterr().err
    assert says in told
    assert "defect" not in told


def test_what_finds_nothing_says_why(index, capsys):
    assert run(["search", str(index), "the", "leaves"]) == 0
    told = capsys.readouterr().out
    assert "nothing: the encoder of this index makes no term of these words" in told
    assert told.count("found") == 1
    assert run(["search", str(index), "leaves", "--filter", "lang=de"]) == 0
    assert "nothing: no document that may be returned shares a term" in capsys.readouterr().out
    assert run(["search", str(index), "leaves", "--timeout", "0.0000000001"]) == 0
    assert "nothing yet: time ran out" in capsys.readouterr().out


def test_results_may_be_thrown_away_by_the_shell(index):
    command = f"{sys.executable} -m lsr search {index} tea >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "defect" not in done.stderr

"""A file of settings says the same as flags do, flags win, and a slip of the pen is named."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

from index import Index
from lsr.__main__ import cli
from lsr.errors import RecipeError, UsageError
from lsr.types import Document
from service.config import Config, read_config
from service.limits import Limits

FILE = """
[server]
data = "server"
port = 9001
log = "json"
host_names = ["search.example.org"]
cursor_minutes = 1.5

[storage]
min_free_mib = 100

[limits]
concurrent = 7
key_rate = 5

[indexes]
papers = "papers.index"

[encoders]
papers = "/encoders/e"
"""


def shown(*arguments: str) -> Any:
    done = CliRunner().invoke(
        cli, ["serve", *arguments, "--show", "--json"], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lsr.toml"
    path.write_text(FILE)
    return path


def test_a_file_sets_what_it_names_and_paths_are_beside_it(file: Path) -> None:
    config = read_config(file)
    settings = config.settings()
    assert settings.indexes == {"papers": file.parent / "papers.index"}
    assert settings.encoders == {"papers": Path("/encoders/e")}
    assert settings.home == file.parent / "server"
    assert settings.limits == Limits(concurrent=7, key_rate=5.0)
    assert settings.watermarks.min_free == 100 << 20
    assert settings.host_names is not None
    assert "search.example.org" in settings.host_names
    assert (config.server.port, config.server.workers) == (9001, 1)


def test_flags_win_over_the_file(file: Path) -> None:
    told = shown("--config", str(file), "--port", "7", "--key-rate", "2", "blogs=/b.index")
    assert told["server"]["port"] == 7
    assert told["server"]["log"] == "json"
    assert told["limits"]["key_rate"] == 2.0
    assert told["limits"]["concurrent"] == 7
    assert set(told["indexes"]) == {"papers", "blogs"}
    assert told["server"]["host"] == "127.0.0.1"


def test_what_is_shown_is_a_file_that_means_the_same(file: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["serve", "--config", str(file), "--port", "7", "--show"])
    assert "port = 7  # flag" in done.stdout
    assert "min_free_mib = 100  # file" in done.stdout
    assert "workers = 1\n" in done.stdout
    again = tmp_path / "again.toml"
    again.write_text(done.stdout)
    assert tomllib.loads(done.stdout)["server"]["data"] == str(file.parent / "server")
    assert shown("--config", str(again)) == shown("--config", str(file), "--port", "7")


def test_every_limit_can_be_set_in_the_file(tmp_path: Path) -> None:
    lines = [f"{spec.name} = 3" for spec in fields(Limits)]
    path = tmp_path / "lsr.toml"
    path.write_text("[limits]\n" + "\n".join(lines))
    limits = read_config(path).limits
    assert all(getattr(limits, spec.name) == 3 for spec in fields(Limits))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", "unknown key 'prot' in .server.; did you mean 'port'"),
        ("[server]\nport = 70000", "between 0 and 65535"),
        ("[server]\nlog = 'xml'", 'wanted one of "text" or "json"'),
        ("[limits]\nconcurrent = 0", r"limits\.concurrent = 0"),
        ("[limit]\n", "did you mean 'limits'"),
        ("[server", "cannot be read as TOML"),
        ("[indexes]\npapers = 1", "wanted strings by name"),
    ],
)
def test_a_slip_of_the_pen_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "lsr.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config(path)


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--show"):
        read_config(tmp_path / "none.toml")
    assert Config().settings().indexes == {}


@pytest.mark.slow
def test_hangup_reads_the_file_again(tmp_path: Path) -> None:
    """Two workers; a new limit is in force after SIGHUP, without a restart."""
    with Index.create(tmp_path / "live.index", n_terms=2, max_weight=255.0) as index:
        index.add([Document("a")], sparse.csr_array(np.array([[0, 1]], np.float32)))
    path = tmp_path / "lsr.toml"
    text = '[server]\nport = 0\nworkers = 2\n[indexes]\nlive = "live.index"\n[limits]\nkey_burst = '
    path.write_text(f"{text}11")
    process = subprocess.Popen(
        [sys.executable, "-m", "lsr", "serve", "--config", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert process.stderr is not None
    try:
        address = next(line for line in process.stderr if line.startswith("ready")).split()[1]
        assert httpx.get(f"{address}/v1/info").json()["limits"]["key_burst"] == 11
        path.write_text(f"{text}12")
        process.send_signal(signal.SIGHUP)
        assert any(line.startswith("reloaded") for line in process.stderr)
        for _ in range(4):
            assert httpx.get(f"{address}/v1/info").json()["limits"]["key_burst"] == 12
        path.write_text("[nonsense]")
        process.send_signal(signal.SIGHUP)
        assert any("the old ones stay" in line for line in process.stderr)
        assert httpx.get(f"{address}/v1/info").json()["limits"]["key_burst"] == 12
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()

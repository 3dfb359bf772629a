"""The page of costs shows what the model makes of the runs that are kept beside it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "service" / "scaling.json"
MODEL = ROOT / "tests" / "bench" / "shards_model.py"


def printed(runs: Path) -> str:
    """What the command on the page prints."""
    return subprocess.run(
        [sys.executable, str(MODEL), str(runs)], capture_output=True, text=True, check=True
    ).stdout


def test_the_page_shows_what_the_command_prints() -> None:
    page = (ROOT / "service" / "SCALING.md").read_text()
    table, constants = printed(RUNS).strip().split("\n\n")
    assert table in page
    assert constants in page


def test_costs_follow_from_the_constants(tmp_path: Path) -> None:
    """Worked out by hand: a billion documents of 1,000 searched bytes are 931 GiB, 21 machines of
    44.8 GiB, and at 20 million a shard 50 shards; a shard of five times the last size takes five
    times as long with power 1; and 1.5 kB a shard are 75 kB a query."""
    one = {
        "documents": 4_000_000,
        "segment_bytes": 1500,
        "search_bytes": 1000,
        "catalog_bytes": 500,
        "build_cpu_us": 36,
        "search_us": {"1000000": 100.0, "4000000": 400.0},
        "shards_2": {"reply_bytes": 1500},
        "encoded_docs_per_cpu_s": {"x": 1000},
    }
    runs = tmp_path / "runs.json"
    runs.write_text(json.dumps({"runs": [one]}))
    told = printed(runs)
    billion = next(line for line in told.splitlines() if line.startswith("| 1,000,000,000 "))
    cells = [cell.strip() for cell in billion.strip("|").split("|")]
    assert cells[1:6] == ["50", "21", "1,863 GiB", "931.3 GiB", "10.0"]
    assert cells[6:] == ["100.00", "3,360", "75 kB"]
    assert "documents to the power 1.00" in told
    assert "x 278 (1,000 a second)" in told

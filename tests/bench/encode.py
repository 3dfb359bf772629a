"""`make bench-encode`: documents a second of our encoders beside stock sentence-transformers (CPU).

One sparse encoder, the same texts, the same number of threads. Its head is new and knows nothing,
so its bias is shifted until a document has about as many terms as a trained encoder gives it;
otherwise all 30,522 would be on and both would mostly move dense rows. In float32 every vector is
compared with the stock one before its time counts. Rounds are interleaved and ratios taken inside a
round; with one thread they are ratios of processor time, which other jobs disturb least.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch
from machine import heading, machine
from scipy import sparse

from lsr.datasets import load_dataset
from lsr.encoders import SpladeEncoder, load_encoder
from lsr.encoders.onnx_export import export_onnx
from lsr.encoders.splade import SpladeModel
from lsr.types import SparseMatrix
from training.calibrate import calibrate
from training.scratch import make_backbone
from training.sections import Scratch

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "beir"
TOLERANCE = 1e-4
ACTIVE_TERMS = 200
BATCH_SIZES = (4, 8, 16, 64)
"""Tried beside the stock default of 32, the best of them kept."""
STOCK = "sentence-transformers, batches of 32"


@dataclass(frozen=True)
class Runner:
    """One way of encoding, and whether its vectors must equal the stock ones."""

    encode: Callable[[Sequence[str]], SparseMatrix]
    exact: bool


def stock_runner(model: Any, batch_size: int) -> Runner:
    """Its own `encode_document`, brought to the matrix that ours returns."""

    def encode(texts: Sequence[str]) -> SparseMatrix:
        found = model.encode_document(list(texts), batch_size=batch_size).coalesce()
        rows, columns = found.indices().numpy()
        return sparse.csr_array((found.values().numpy(), (rows, columns)), shape=found.shape)

    return Runner(encode, exact=True)


def encoder_folder(place: Path, options: argparse.Namespace, texts: Sequence[str]) -> Path:
    """A SPLADE of the size asked for, whose documents have about `ACTIVE_TERMS` terms."""
    backbone = options.backbone
    if backbone is None:
        backbone = place / "backbone"
        shape = Scratch(vocabulary=30_522, hidden=384, layers=6, heads=12)
        make_backbone(backbone, shape, texts, max_length=512, seed=0)
    model = SpladeModel.from_checkpoint(backbone, new_head=True, seed=0, max_length=options.length)
    calibrate(model, texts[:64], active_terms=ACTIVE_TERMS, max_length=options.length, bf16=False)
    SpladeEncoder.of(model, name="bench").save(place / "encoder")
    return place / "encoder"


def best_batch_size(model: Any, texts: Sequence[str]) -> int:
    """The quickest of `BATCH_SIZES`, the least of two passes each."""
    times: dict[int, float] = {}
    for _ in range(2):
        for size in BATCH_SIZES:
            took = timed(stock_runner(model, size), texts)
            times[size] = min(took, times.get(size, took))
    return min(times, key=times.__getitem__)


def timed(runner: Runner, texts: Sequence[str]) -> float:
    """Seconds: of the processor with one thread, of the clock with several."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    runner.encode(texts)
    return clock() - started


def measure(options: argparse.Namespace, texts: Sequence[str]) -> dict[str, Any]:
    """Documents a second of every way, by round, and its largest difference from stock."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as work:
        folder = encoder_folder(Path(work), options, texts)
        ours = load_encoder(folder)
        stock = sentence_transformers.SparseEncoder(str(folder), device="cpu")
        size = best_batch_size(stock, texts[:32])
        runners = {
            STOCK: stock_runner(stock, 32),
            f"sentence-transformers, batches of {size} (best)": stock_runner(stock, size),
            "ours, torch float32": Runner(ours.encode_documents, exact=True),
        }
        for precision in ("float32", "int8"):
            export_onnx(ours, Path(work, precision), precision=precision, texts=texts[-64:])
            os.environ["LSR_THREADS"] = str(options.threads)
            twin = load_encoder(Path(work, precision))
            runners[f"ours, ONNX {precision}"] = Runner(
                twin.encode_documents, exact=precision == "float32"
            )
        wanted = runners[STOCK].encode(texts)
        differences: dict[str, float] = {}
        for name, runner in runners.items():  # also warms up
            differences[name] = float(abs(runner.encode(texts) - wanted).max())
            if runner.exact and differences[name] > TOLERANCE:
                sys.exit(f"{name}: weights differ from stock by {differences[name]:.2g}")
        rounds: list[dict[str, float]] = []
        for number in range(options.rounds):
            names = list(runners)
            random.Random(number).shuffle(names)
            took = {name: timed(runners[name], texts) for name in names}
            rounds.append({name: len(texts) / took[name] for name in runners})
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    lengths = [len(ids) for ids in ours.side.tokenizer.ids(texts, special=True)]
    return {
        "threads": options.threads,
        "documents": len(texts),
        "tokens": statistics.mean(lengths),
        "active_terms": wanted.nnz / len(texts),
        "rounds": rounds,
        "differences": differences,
    }


def report(found: dict[str, Any]) -> str:
    """The table."""
    rounds = found["rounds"]
    lines = [
        (
            f"{found['documents']:,} documents of {found['tokens']:.0f} tokens and "
            f"{found['active_terms']:.0f} terms on average, {found['threads']} thread(s), medians "
            f"of {len(rounds)} interleaved rounds"
        ),
        "",
        "| encoder | documents/s | times stock | quartiles | largest difference |",
        "|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        rate = statistics.median(each[name] for each in rounds)
        ratios = [each[name] / each[STOCK] for each in rounds]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        lines.append(
            f"| {name} | {rate:.1f} | {middle:.2f} | {low:.2f} to {high:.2f} | "
            f"{found['differences'][name]:.1e} |"
        )
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--backbone", type=Path, help="a BERT folder; default: random, of MiniLM-L6's size")
    add("--texts", help="corpus; default: SciFact beside the checkout, else Python's documentation")
    add("--documents", type=int, default=128, help="how many (default 128)")
    add("--length", type=int, default=128, help="longest text in tokens (default 128)")
    add("--rounds", type=int, default=7, help="interleaved (default 7)")
    add("--threads", type=int, default=2, help="of torch and ONNX Runtime (default 2)")
    add("--json", type=Path, help="also write everything there")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    chosen = options()
    where = machine()
    corpus = chosen.texts or (SHARED / "scifact" if SHARED.is_dir() else "python-docs")
    documents = islice(load_dataset(str(corpus)).documents(), chosen.documents)
    texts = [document.text() for document in documents]
    found = measure(chosen, texts)
    names = ("torch", "onnxruntime", "sentence-transformers")
    print(heading(where))
    print("with       " + ", ".join(f"{name} {version(name)}" for name in names))
    print(f"texts      {Path(str(corpus)).name}, cut at {chosen.length} tokens\n")
    print(report(found))
    if chosen.json:
        chosen.json.write_text(json.dumps({"machine": where, **found}, indent=1))


if __name__ == "__main__":
    main()

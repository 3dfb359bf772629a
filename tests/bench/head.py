"""Training steps with our head against the stock `SpladePooling`: peak memory, time, same result.

A step is forward, loss and backward of one batch of random tokens, no optimiser: `head` alone, on
random features whose weights are sparse as in training, or the whole `model`, beside what the
network takes without any head, which no head can save. Every measurement is a process of its own;
the implementations take turns, and the least CPU time of all is kept.

    python tests/bench/head.py --batch 32 --length 128 --rounds 3
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from machine import heading, machine
from sentence_transformers.sparse_encoder.modules import SpladePooling
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from lsr.encoders.head import max_logits

WIDTH, VOCAB, LAYERS, HEADS, INNER = 384, 30_522, 6, 12, 1_536  # MiniLM-L6
BIAS = {"head": -0.5, "model": -1.5}  # of random logits: some hundred terms a text, as in training


def main() -> None:
    """Measure and print a table, and JSON with `--json FILE`."""
    asked = _arguments()
    if asked.worker:
        print(json.dumps(_measured(asked)))
        return
    where = machine()
    print(heading(where))
    print(
        f"against    sentence-transformers {version('sentence-transformers')} SpladePooling, "
        f"torch {torch.__version__}, {asked.threads} thread"
    )
    print(
        f"batch      {asked.batch} texts of {asked.length} tokens, width {WIDTH}, {VOCAB:,} terms"
    )
    rows = []
    for scope in asked.scopes:
        for precision in asked.precisions:
            row = _compared(asked, scope, precision)
            rows.append(row)
            print(
                f"{scope:<6} {precision:<9} step {row['stock']['seconds']:6.2f} CPU s stock, "
                f"{row['ours']['seconds']:6.2f} s ours: {row['speedup']:.2f}x; peak above the "
                f"start {row['stock']['peak'] / 2**20:6.0f} MiB stock, "
                f"{row['ours']['peak'] / 2**20:6.0f} MiB ours: {row['memory']:.2f}{_bare(row)}; "
                f"{row['ours']['active']:.0f} terms a text, losses {row['stock']['loss']:.6g} and "
                f"{row['ours']['loss']:.6g}",
                flush=True,
            )
    if asked.json is not None:
        settings = {"batch": asked.batch, "length": asked.length, "rounds": asked.rounds}
        asked.json.write_text(json.dumps({"machine": where, **settings, "rows": rows}, indent=1))


def _bare(row: dict[str, Any]) -> str:
    """What the network takes of both, where there is one."""
    if "none" not in row:
        return ""
    bare = row["none"]
    return f"; without a head {bare['seconds']:.2f} s, {bare['peak'] / 2**20:.0f} MiB"


def _compared(asked: argparse.Namespace, scope: str, precision: str) -> dict[str, Any]:
    best: dict[str, Any] = {}
    for _ in range(asked.rounds):
        for side in ("stock", "ours", *(["none"] if scope == "model" else [])):
            command = [sys.executable, __file__, "--worker", side, "--scopes", scope]
            command += ["--precisions", precision, "--batch", str(asked.batch)]
            command += ["--length", str(asked.length), "--threads", str(asked.threads)]
            command += ["--bias", str(BIAS[scope] if asked.bias is None else asked.bias)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            one = json.loads(done.stdout.splitlines()[-1])
            seconds = min(one["seconds"], best.get(side, one)["seconds"])
            best[side] = one | {"seconds": seconds}
    stock, ours = best["stock"], best["ours"]
    return {
        "scope": scope,
        "precision": precision,
        **best,
        "speedup": stock["seconds"] / ours["seconds"],
        "memory": ours["peak"] / stock["peak"],
    }


def _measured(asked: argparse.Namespace) -> dict[str, float]:
    """CPU seconds of the faster of two steps, bytes above what parameters and inputs hold."""
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    step = _step_of(asked.worker, asked.scopes[0], asked.batch, asked.length, asked.bias)
    low = asked.precisions[0] == "bfloat16"
    before = _resident()
    seconds = []
    for _ in range(2):
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            weights, parameters = step()
        # The ranking loss of random pairs, and a penalty: gradients where weights are above 0.
        loss = (weights[::2] * weights[1::2]).sum() + weights.mean(dim=0).square().sum()
        loss.backward()
        seconds.append(time.process_time() - started)
        for parameter in parameters:
            parameter.grad = None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    active = float((weights > 0).sum(dim=1).float().mean())
    return {"seconds": min(seconds), "peak": peak, "active": active, "loss": loss.item()}


def _step_of(side: str, scope: str, batch: int, length: int, bias: float) -> Any:
    """A function without arguments: (batch, vocab) weights, and the leaves that get gradients."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    pooling = SpladePooling("max").train()
    model: nn.Module | None = None
    if scope == "model":
        config = BertConfig(
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=INNER,
        )
        model = BertForMaskedLM(config).train()
        decoder = model.get_output_embeddings()
    else:
        decoder = nn.Linear(WIDTH, VOCAB)
        nn.init.normal_(decoder.weight, std=0.007)
    with torch.no_grad():
        decoder.bias.fill_(bias)
    features = torch.randn(batch, length, WIDTH, requires_grad=True)
    ids = torch.randint(VOCAB, (batch, length))

    def step() -> tuple[Tensor, list[Tensor]]:
        if model is None:
            parameters = [features, *decoder.parameters()]
            if side == "ours":
                return _ours(features, decoder, mask), parameters
            logits = decoder(features)
        else:
            parameters = list(model.parameters())
            hidden = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            hidden = model.cls.predictions.transform(hidden)
            if side == "none":
                return hidden.amax(dim=1).float(), parameters
            if side == "ours":
                return _ours(hidden, decoder, mask), parameters
            logits = decoder(hidden)
        pooled = pooling({"token_embeddings": logits, "attention_mask": mask})
        return pooled["sentence_embedding"].float(), parameters

    return step


def _ours(features: Tensor, decoder: nn.Linear, mask: Tensor) -> Tensor:
    return torch.log1p(torch.relu(max_logits(features, decoder.weight, decoder.bias, mask)))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scopes", nargs="+", default=["head", "model"])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--bias", type=float, help="of the head: how sparse the weights are")
    parser.add_argument("--json", type=Path, help="write the measurements there as well")
    parser.add_argument("--worker", choices=["stock", "ours", "none"], help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

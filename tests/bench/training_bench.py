"""`make bench-training`: every named system and every ablation, trained alike, in three tables.

What is trained is in `training.toml`: shipped recipes with the same backbone, data and number of
steps. Each run is one JSON file in --out, so an interrupted bench goes on where it stopped; a
run whose settings changed is made again. Progress goes to stderr, the tables to stdout.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from machine import heading, machine
from pools import write_pool
from training_tables import Run, ablation_table, system_table

HERE = Path(__file__).resolve().parent
PLAN = HERE / "training.toml"


@dataclass(frozen=True)
class Job:
    """One training run: which recipe, with which of its values replaced, measured on what."""

    name: str
    recipe: str
    settings: Mapping[str, Any]
    seed: int
    collections: tuple[str, ...]
    precision: str
    pool: Mapping[str, int] | None = None
    """Measured on pools of the collections, so large (`pools.write_pool`), instead of the whole."""

    @property
    def key(self) -> str:
        """16 hex digits of everything that decides the result."""
        said = {key: value for key, value in asdict(self).items() if value is not None}
        content = json.dumps(said, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def jobs_of(plan: Mapping[str, Any], options: argparse.Namespace) -> Iterator[tuple[str, Job]]:
    """(table, job) of every run of the plan, systems first."""

    def job(
        name: str,
        recipe: str,
        entries: Sequence[Mapping[str, Any]],
        seed: int,
        judged: list[str],
        pool: Mapping[str, int] | None = None,
    ) -> Job:
        settings = dict(plan["common"])
        for entry in entries:
            settings |= entry.get("set", {}) | dict.fromkeys(entry.get("drop", ()))
        return Job(name, recipe, settings, seed, tuple(judged), plan["precision"], pool)

    for entry in plan.get("system", ()):
        alike = plan["systems"]
        judged = entry.get("collections", alike["collections"])
        yield "systems", job(entry["name"], entry["recipe"], [alike, entry], plan["seed"], judged)
    if pooled := plan.get("pools"):
        systems = {entry["name"]: entry for entry in plan["system"]}
        for name in pooled["systems"]:
            entry = systems[name]
            layers = [plan["systems"], entry, pooled]
            judged = plan["systems"]["collections"]
            pool = pooled["pool"]
            yield "pools", job(f"pools/{name}", entry["recipe"], layers, plan["seed"], judged, pool)
    base = plan["ablations"]
    for entry in plan.get("ablation", ()):
        own = {key: entry.get(key, base[key]) for key in ("recipe", "seeds", "collections")}
        for seed in own["seeds"]:
            for arm in entry["arms"]:
                name, layers = f"{entry['name']}/{arm['name']}", [base, entry, arm]
                yield "ablations", job(name, own["recipe"], layers, seed, own["collections"])


def perform(job: Job, out: Path, models: Path) -> Run:
    """Train and measure, unless it was done; the encoder is removed, its figures stay."""
    # Two arms of two ablations may be the same run: the file goes by what was run.
    anonymous = replace(job, name="")
    file = out / f"{anonymous.key}.json"
    if file.is_file():
        return Run(job.name, job.seed, **json.loads(file.read_text()))
    from training import load_recipe, train

    folder = out / anonymous.key
    started = time.monotonic()
    recipe = load_recipe(job.recipe, {**_found(job.settings, models), "run.seed": job.seed})
    if not (folder / "modules.json").is_file():
        # Teachers' vectors go by fingerprints of teacher and texts: every run may use the same.
        shared, own = out / "teachers", folder.with_name(f"{folder.name}.training")
        shared.mkdir(exist_ok=True)
        own.mkdir(exist_ok=True)
        if not (own / "teachers").exists():
            (own / "teachers").symlink_to(shared.resolve())
        report = train(recipe, folder)
        facts = {"train_s": report.seconds, "last_log": dict(report.last_log)}
        (folder / "bench.json").write_text(json.dumps(facts))
    else:
        facts = json.loads((folder / "bench.json").read_text())
    rows = {
        name: evaluate(where, folder, job.precision)
        for name, where in places(job.collections, job.pool, job.seed, out)
    }
    result: dict[str, Any] = {"steps": recipe.stage.ranking.steps, "rows": rows, **facts}
    file.write_text(json.dumps(result, indent=1))
    shutil.rmtree(folder)
    print(f"{job.name} seed {job.seed}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return Run(job.name, job.seed, **result)


def _found(settings: Mapping[str, Any], models: Path) -> dict[str, Any]:
    """Names of checkpoints that lie in `models` become their folders."""

    def folder(name: str) -> str:
        return str((models / name).resolve()) if name and (models / name).is_dir() else name

    found = dict(settings)
    found["model.backbone"] = folder(found["model.backbone"])
    if found.get("teachers"):
        found["teachers"] = [
            {**teacher, **({"model": folder(teacher["model"])} if "model" in teacher else {})}
            for teacher in found["teachers"]
        ]
    return found


def places(
    collections: Sequence[str], pool: Mapping[str, int] | None, seed: int, out: Path
) -> Iterator[tuple[str, str]]:
    """(name, where) of what a run is measured on: the collections, or pools made in `out`."""
    for name in collections:
        if pool is None:
            yield name, name
        else:
            yield name, str(write_pool(name, out / "pools" / name, **pool, seed=seed).resolve())


def evaluate(collection: str, encoder: Path | str, precision: str = "") -> dict[str, float]:
    """The row of `lsr evaluate`, by its own code; the index is made in the cache and dropped."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "lsr", "evaluate", collection, "--json"]
        command += ["--encoder", str(encoder)]
        command += ["--precision", precision] if precision else []
        environment = os.environ | {"LSR_CACHE": cache}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    row = json.loads(done.stdout)
    return {
        "ndcg": row["measures"]["nDCG@10"],
        "recall": row["measures"]["R@100"],
        "document_terms": row["terms_per_document"],
        "query_terms": row["terms_per_query"],
        "flops": row["flops"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the plan, or the part of it that is asked for, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-training"))
    parser.add_argument("--models", type=Path, default=Path("models"), help="checkpoint folders")
    parser.add_argument("--only", default="", help="runs whose name starts with this")
    parser.add_argument("--part", default="1/1", help="i/n: every n-th run, for n processes")
    parser.add_argument("--tables", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args(arguments)
    plan = tomllib.loads(options.plan.read_text(encoding="utf-8"))
    options.out.mkdir(parents=True, exist_ok=True)
    part, parts = map(int, options.part.split("/"))
    runs: dict[str, list[Run]] = {"systems": [], "pools": [], "ablations": []}
    for number, (table, job) in enumerate(jobs_of(plan, options)):
        if not job.name.startswith(options.only):
            continue
        if options.tables:
            if not (options.out / f"{replace(job, name='').key}.json").is_file():
                continue
        elif number % parts != part - 1:
            continue
        runs[table].append(perform(job, options.out, options.models))
    print(heading(machine()))
    print(system_table(runs["systems"], plan["systems"]["collections"]))
    if runs["pools"]:
        pool = places(
            plan["systems"]["collections"], plan["pools"]["pool"], plan["seed"], options.out
        )
        words = {name: evaluate(where, "bm25") for name, where in pool}
        print(system_table([Run("pools/bm25", 0, 0, words, 0.0, {}), *runs["pools"]], list(words)))
    print(ablation_table(runs["ablations"]))


if __name__ == "__main__":
    main()

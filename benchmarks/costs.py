"""What a step of every stage costs at full size, by lowering it: no weights, nothing compiled.

    python benchmarks/costs.py [--only STAGE]

FLOPs are XLA's count for the lowered step on an accelerator's code path, divided by the batch, so
that it holds for any; the body of a loop, as GPT-2's roll-out is one, counts once. Rates are
computed at 40 % of a chip's bf16 peak. Writes benchmarks/results/costs.json and prints the table of
docs/training.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from importlib import metadata
from pathlib import Path

import jax

from audioldm2_jax import backend, files
from audioldm2_jax.training import metrics
from audioldm2_jax.training.configuration import read_config
from audioldm2_jax.training.run import open_run, step_of
from audioldm2_jax.training.shapes import batch_shapes, frozen_shapes
from audioldm2_jax.training.stages import find_stage
from audioldm2_jax.training.state import state_shapes

ROOT = Path(__file__).parent.parent
RUNS = (
    "panns:cnn14",
    "audiomae:base",
    "clap:base",
    "vae:16k",
    "vae:48k",
    "vocoder:16k",
    "vocoder:48k",
    "loa:sound",
    "loa:speech",
    "pretrain:base",
    "pretrain:large",
    "pretrain:base:encoded",
    "pretrain:large:encoded",
    "joint:full",
    "joint:full-large",
    "joint:full:encoded",
    "audioldm:s",
    "audioldm:m",
    "audioldm:l",
)
SHARE, CHIPS = 0.4, ("TPU v5e", "NVIDIA A100", "NVIDIA H100")
BATCH = 8


def cost(name: str) -> dict:
    """{million parameters trained, TFLOP of a clip, clips/s of a chip by its name}."""
    encoded = name.endswith(":encoded")
    file, _, variant = name.removesuffix(":encoded").partition(":")
    values = [f"--config.batch={BATCH}", "--config.dtype=bf16"]
    config = read_config(f"{ROOT}/configs/{file}.py:{variant}", values)
    with backend.targeting("tpu"):
        # As many classes as AudioSet has.
        classes = tuple(map(str, range(527))) if find_stage(config.stage).reads_labels else ()
        run = open_run(config, classes=classes)
        state = state_shapes(run.spec.stage)
        with jax.set_mesh(run.mesh):
            batch = batch_shapes(run, precomputed=encoded)
            lowered = jax.jit(step_of(run)).lower(state, frozen_shapes(run, batch), batch)
    flops = lowered.cost_analysis()["flops"] / BATCH
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(state.params))
    rates = {chip: SHARE * metrics.peak(chip) / flops for chip in CHIPS}
    return {"parameters": count / 1e6, "TFLOP": flops / 1e12, "clips/s": rates}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=RUNS, action="append")
    options = parser.parse_args()
    path = ROOT / "benchmarks/results/costs.json"
    stored = json.loads(path.read_text())["stages"] if path.is_file() else {}
    versions = {n: metadata.version(n) for n in ("jax", "flax")}
    about = {"date": str(datetime.date.today()), "versions": versions, "share of the peak": SHARE}
    print(
        "| stage | trained, M | TFLOP a clip | " + " | ".join(f"clips/s, {c}" for c in CHIPS) + " |"
    )
    print("| --- | --- | --- |" + " --- |" * len(CHIPS))
    for name in RUNS:
        if name in (options.only or RUNS):
            stored[name] = cost(name)
            files.write_json(path, about | {"stages": stored})
        if name not in stored:
            continue
        c = stored[name]
        rates = " | ".join(f"{rate:.0f}" for rate in c["clips/s"].values())
        print(f"| {name} | {c['parameters']:.0f} | {c['TFLOP']:.2f} | {rates} |", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()

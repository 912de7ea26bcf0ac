"""One training step of every stage: ours against the same step in torch, alternating, in one run.

    python benchmarks/training.py [--size small|full] [--stages vae,clap] [--dtype fp32|bf16]

Networks, batches, optimiser, clipping and averages are the same; both sides' parameters are
counted. small: networks of a size that two cores train; full: the published ones, for a GPU.
FLOPs are those of torch's counter (products and convolutions) for both sides; the share of the
machine's peak is of the fastest large matrix product found here. Writes
benchmarks/results/training-<device>.json and prints the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import timing
from random_weights import drawn

from audioldm2_jax import backend, files
from audioldm2_jax.checkpoints.parts import PARTS
from audioldm2_jax.dtypes import parse_dtype
from audioldm2_jax.presets import PRESETS
from audioldm2_jax.training.base_checkpoint import with_audiomae
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.spec import StageSpec, build_stage
from audioldm2_jax.training.stages import find_stage
from audioldm2_jax.training.state import init_state
from audioldm2_jax.training.step import donated_argnums, make_step

HERE = Path(__file__).parent
OPTIM = OptimConfig(learning_rate=1e-5, warmup=0)
# Seconds of a clip and clips of a batch.
SHAPES = {
    "small": {
        "pretrain": (5.12, 2),
        "joint": (5.12, 2),
        "audioldm": (5.12, 2),
        "loa": (10.24, 16),
        "vae": (2.56, 2),
        "vocoder": (0.64, 4),
        "clap": (10.24, 4),
        "audiomae": (10.24, 4),
        "panns": (5.12, 4),
    },
    "full": {
        "pretrain": (10.24, 16),
        "joint": (10.24, 16),
        "audioldm": (10.24, 16),
        "loa": (10.24, 64),
        "vae": (10.24, 4),
        "vocoder": (0.64, 16),
        "clap": (10.24, 32),
        "audiomae": (10.24, 64),
        "panns": (10.24, 32),
    },
}
SETTINGS = {
    "audiomae": {"local_attention": False, "decoder_depth": 8},
    "vae": {"discriminator_start": 0},
    "pretrain": {"poolings": (1, 2, 4, 8)},
}


def model_of(stage: str, size: str):
    """The stage's networks."""
    base = with_audiomae(PRESETS["audioldm-s" if stage == "audioldm" else "base"]())
    if size == "full":
        return base
    replace, unet = dataclasses.replace, base.unet
    contexts = unet.contexts[:3]
    unet = replace(
        unet,
        channels=(128, 192, 256),
        heads=(4, 6, 8),
        layers=1,
        attention=(False, True, True),
        contexts=contexts,
        depths=(1, 1, 1),
    )
    text = replace(base.clap.text, width=256, depth=4, heads=4, hidden=1024)
    audio = replace(base.clap.audio, embed=64, depths=(2, 2, 2, 2), heads=(2, 4, 8, 16))
    small = {
        "unet": unet,
        "clap": replace(base.clap, text=text, audio=audio),
        "vae": replace(base.vae, channels=(64, 128, 256), layers=1),
        "vocoder": replace(base.vocoder, channels=256),
    }
    if base.gpt2:
        small["gpt2"] = replace(base.gpt2, depth=4)
        small["audiomae"] = replace(base.audiomae, depth=4)
    return replace(base, **small)


def batch_of(model, seconds: float, rows: int) -> dict:
    """What the stages read, encoded where frozen encoders would have to run."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal((rows, *shape)).astype(np.float32)

    frames, c = int(seconds * 100), model.vae
    latent = (frames // c.factor, model.vocoder.mels // c.factor, c.latent_channels)
    wave = 0.1 * draw(int(seconds * 16000))
    mask = np.arange(32) < rng.integers(8, 33, (rows, 1))
    arrays = {
        "waveform": wave,
        "waveform_48k": np.repeat(wave, 3, 1),
        "mean": draw(*latent),
        "logvar": draw(*latent),
        "clap_tokens": rng.integers(5, 500, (rows, 32)).astype(np.int32),
        "clap_mask": mask,
        "clap_text": draw(512),
        "clap_audio": draw(512),
        "t5": draw(32, 1024),
        "t5_mask": mask,
        "labels": (rng.random((rows, 96)) < 0.05).astype(np.float32),
    }
    for pooling in (1, 2, 4, 8):
        arrays[f"loa_{pooling}"] = draw(512 // pooling**2, 768)
    return arrays


class Step(NamedTuple):
    """run: one step; compiled: its program; compiling: seconds; parameters: trained ones."""

    run: Callable
    compiled: Any
    compiling: float
    parameters: int


def spec_of(stage: str, model, *, seconds: float, dtype: str) -> StageSpec:
    """The stage for clips of so many seconds; dtype: fp32 or bf16."""
    return build_stage(
        find_stage(stage),
        model,
        OPTIM,
        SETTINGS.get(stage, {}),
        seconds=seconds,
        dtype=parse_dtype(dtype),
        classes=tuple(map(str, range(96))),
    )


def constants_of(spec: StageSpec, model, dtype: str) -> dict:
    """Zeros in place of the stage's frozen constants."""
    frozen = {}
    for name, constant in spec.constants.items():
        part = {constant.part: PARTS[constant.part].shapes(getattr(model, constant.part))}
        shape = jax.eval_shape(lambda p, c=constant: c.compute(p, parse_dtype(dtype)), part)
        frozen[name] = jnp.zeros(shape.shape, shape.dtype)
    return frozen


def ours_of(spec: StageSpec, frozen: dict, batch) -> Step:
    """Our step from random weights, which are drawn on the device. frozen: of `constants_of`."""
    weights = drawn(jax.eval_shape(spec.stage.init, jax.random.key(0)))
    state = init_state(spec.stage, jax.random.key(1), weights)
    count = sum(x.size for x in jax.tree.leaves(state.params))
    begin = time.perf_counter()
    step = jax.jit(make_step(spec.stage), donate_argnums=donated_argnums())
    step = step.lower(state, frozen, batch).compile()
    compiling = time.perf_counter() - begin
    batch = jax.device_put(batch)

    def run():
        nonlocal state
        state, metrics = step(state, frozen, batch)
        return jax.block_until_ready(metrics)

    return Step(run, step, compiling, count)


def theirs_of(stage: str, model, batch, dtype: str):
    """(one step, its FLOPs, trained parameters)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from torch_stages import PEERS

    device = "cuda" if torch.cuda.is_available() else "cpu"
    peer = PEERS[stage](model, OPTIM, device, dtype)
    batch = {k: torch.tensor(v, device=device) for k, v in batch.items()}
    batch = {k: v.long() if k.endswith("tokens") else v for k, v in batch.items()}

    def run():
        peer.step(batch)
        if device == "cuda":
            torch.cuda.synchronize()

    counter = FlopCounterMode(display=False)
    with counter:
        run()
    return run, counter.get_total_flops(), peer.parameters


def peak() -> float:
    """FLOP/s of the fastest large matrix product: torch's or ours, in the benchmark's precision."""
    import torch

    size, best = 2048, 0.0
    a = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    x, b = torch.tensor(a), jnp.asarray(a)
    multiply = jax.jit(jnp.matmul)
    for run in (lambda: x @ x, lambda: multiply(b, b).block_until_ready()):
        run()
        for _ in range(5):
            best = max(best, 2 * size**3 / timing.sample(run)[0])
    return best


def measure(stage: str, options) -> dict:
    """Both sides' seconds for a step, and what follows from them."""
    seconds, rows = SHAPES[options.size][stage]
    model = model_of(stage, options.size)
    batch = batch_of(model, seconds, rows)
    theirs, flops, their_count = theirs_of(stage, model, batch, options.dtype)
    spec = spec_of(stage, model, seconds=seconds, dtype=options.dtype)
    ours = ours_of(spec, constants_of(spec, model, options.dtype), batch)
    seconds_of_step = timing.compare(ours.run, theirs, options.repeats)
    return seconds_of_step | {
        "date": str(datetime.date.today()),
        "peak": peak() if backend.current().is_cpu else None,
        "clips": rows,
        "seconds of a clip": seconds,
        "parameters": ours.parameters,
        "their parameters": their_count,
        "compile": ours.compiling,
        "TFLOP": flops / 1e12,
    }


def table(stages: dict) -> str:
    lines = [
        "| stage | parameters, M | clips/s | torch | ours / torch, time | of the peak, % | torch |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, s in stages.items():
        shares = (
            [f"{100e12 * s['TFLOP'] / s[side] / s['peak']:.0f}" for side in ("ours", "theirs")]
            if s["peak"]
            else ["-", "-"]
        )
        lines.append(
            f"| {name} | {s['parameters'] / 1e6:.1f} | {s['clips'] / s['ours']:.2f} | "
            f"{s['clips'] / s['theirs']:.2f} | {s['ratio']:.2f} | {shares[0]} | {shares[1]} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--stages", default=",".join(SHAPES["small"]), help="separated by commas")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    import torch

    # The record holds times of compilation.
    jax.config.update("jax_enable_compilation_cache", False)
    device = jax.devices()[0].device_kind.replace(" ", "-").lower()
    path = HERE / "results" / f"training-{device}-{options.size}-{options.dtype}.json"
    stored = json.loads(path.read_text()) if path.is_file() else {"stages": {}}
    stored |= {
        "hardware": {
            "device": device,
            "cpu": platform.processor(),
            "threads": torch.get_num_threads(),
        },
        "versions": {n: metadata.version(n) for n in ("jax", "flax", "torch", "diffusers")},
        "dtype": options.dtype,
    }
    for stage in options.stages.split(","):
        stored["stages"][stage] = measure(stage, options)
        print(table({stage: stored["stages"][stage]}).splitlines()[-1], flush=True)
        files.write_json(path, stored)
        jax.clear_caches()
    print(table(stored["stages"]))


if __name__ == "__main__":
    main()

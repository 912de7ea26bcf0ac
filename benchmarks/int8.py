"""What eight bits change: each encoder's error, the latents', and the bytes that they save.

python benchmarks/int8.py [--model nano] [--prompts N] [--steps N]
python benchmarks/int8.py --random base --encoders   # random weights, text encoders alone

Errors are root mean squares relative to the deviation of fp32's result over tokens and prompts.
"""

from __future__ import annotations

import argparse
import dataclasses

import jax
import numpy as np

from audioldm2_jax import tree
from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.diffusion.samplers import pad_schedule
from audioldm2_jax.models.int8 import PARTS, quantize_in_place
from audioldm2_jax.pipelines import text
from audioldm2_jax.pipelines.batch import make_batch
from audioldm2_jax.pipelines.durations import exact_duration
from audioldm2_jax.pipelines.programs import program_of, shared
from audioldm2_jax.pipelines.request import ClipRequest, check_clip, check_sampling
from audioldm2_jax.presets import CONVENTIONS, PRESETS

_PROMPTS = (
    "a dog barks",
    "loud rain",
    "two church bell tolls",
    "a low tone rises and then falls",
    "a siren in the distance while birds sing",
    "a slow beat with a bass drum",
)


def main():
    """Prints a row for each result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="nano", help="a bundled model, or a folder")
    parser.add_argument(
        "--random", default=None, choices=PRESETS, help="random weights of a preset"
    )
    parser.add_argument("--prompts", type=int, default=len(_PROMPTS))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--encoders", action="store_true", help="not the latents")
    options = parser.parse_args()
    if options.random:
        checkpoint = random_checkpoint(
            dataclasses.replace(PRESETS[options.random](), audiomae=None)
        )
    else:
        checkpoint = hub.load(download.locate(options.model, quiet=True), without=("audiomae",))
    plain = checkpoint.params
    eight = plain | {name: _copied(plain[name]) for name in PARTS if name in plain}
    for name in set(PARTS) & set(plain):
        quantize_in_place(eight[name])
    results = [_results(checkpoint, params, options) for params in (plain, eight)]
    print(f"model {options.random or options.model}, {options.prompts} prompts")
    for name, value in results[0].items():
        error = np.sqrt(np.mean((results[1][name] - value) ** 2))
        print(f"{name:<24} error {error / value.std():.4f} of its deviation")
    for name in sorted(set(PARTS) & set(plain)):
        before, after = (tree.nbytes(params[name]) / 1e6 for params in (plain, eight))
        print(f"{name:<24} {before:.1f} MB in fp32, {after:.1f} MB in eight bits")


def _copied(params: dict) -> dict:
    return {k: _copied(v) if isinstance(v, dict) else v for k, v in params.items()}


def _results(checkpoint, params: dict, options) -> dict[str, np.ndarray]:
    """{name: what the prompts' rows give with these parameters}."""
    config = checkpoint.config
    program = program_of(config, np.float32)
    prompts = _PROMPTS[: options.prompts]
    requests = [check_clip(config, ClipRequest(prompt), checkpoint.source) for prompt in prompts]
    texts = text.tokenise(requests, checkpoint.tokenizers, config, checkpoint.convention)
    encode = jax.jit(lambda p, t: program.encode_texts(config, np.float32, p, t))
    conditioning = encode(params, texts)
    names = ("LOA", "T5's states") if config.family == "audioldm2" else ("T5's states", "")
    # Each prompt's row stands behind its negative text's.
    results = {"CLAP's vector": np.asarray(conditioning.clap_features)[1::2]}
    for name, stream, mask in zip(names, conditioning.streams, conditioning.masks):
        if stream is not None:
            rows = np.asarray(stream)[1::2]
            results[name] = rows if mask is None else rows[np.asarray(mask)[1::2]]
    if not options.encoders:
        results["latents"] = _latents(checkpoint, params, requests, texts, conditioning, options)
    return results


def _latents(checkpoint, params, requests, texts, conditioning, options):
    """Latents of the checkpoint's own length and sampler, guided as by default."""
    config = checkpoint.config
    program = program_of(config, np.float32)
    schedule = check_sampling(config, None, options.steps, 0.0).schedule
    frames = exact_duration(None, config, CONVENTIONS["authors"]).frames
    count = len(requests)
    batch = make_batch(requests, texts, frames, schedule, config, size=count)

    def sample(params, conditioning, clips):
        context = shared.unet_context(program, params, conditioning)
        loop = pad_schedule(schedule)
        return shared.sample_latents(program, params, context, clips, *loop)

    clips = dataclasses.replace(batch.clips, texts=None)
    return np.asarray(jax.jit(sample)(params, conditioning, clips))


if __name__ == "__main__":
    main()

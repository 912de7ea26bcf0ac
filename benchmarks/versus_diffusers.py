"""AudioLDM 2 base at full size: ours against diffusers in one run, alternating.

    python benchmarks/versus_diffusers.py [--steps 25] [--repeats 5] [--dtype fp32]

Builds the model once in the hub layout with random weights (4.5 GB), loads it in both, checks that
both compute the same, and times every part and the whole. On the CPU both get the same threads.
Writes benchmarks/results/<name>.json and prints the README's table.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
PROMPT = "a dog barks in the rain while a car passes by and people talk"
TARGETS = {
    "U-Net step": 1.0,
    "VAE decode": 0.7,
    "vocoder": 0.85,
    "LOA roll-out": 0.7,
    "prompt to waveform": 0.9,
}


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "audioldm2-base-random"
    )
    parser.add_argument("--steps", type=int, default=25, help="of the whole run")
    parser.add_argument("--repeats", type=int, default=5, help="samples of each part")
    parser.add_argument("--whole", type=int, default=2, help="samples of the whole run")
    parser.add_argument("--dtype", default="fp32", help="fp32, or bf16 on a GPU (theirs: the same)")
    parser.add_argument("--compile", action="store_true", help="torch.compile their U-Net")
    parser.add_argument("--child", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    return parser.parse_args()


def load_theirs(folder, dtype, device):
    """diffusers' pipeline with the one class that works under transformers 5."""
    import torch
    from diffusers import AudioLDM2Pipeline, DPMSolverMultistepScheduler

    torch.set_grad_enabled(False)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe = AudioLDM2Pipeline.from_pretrained(folder, torch_dtype=kind).to(device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_ours(folder, dtype):
    from audioldm2_jax import Pipeline

    return Pipeline.from_pretrained(folder, dtype=dtype, convention="diffusers", progress=False)


def child(name, folder, dtype):
    """One process of one candidate: load, one two-step clip; prints seconds and peak memory."""
    begin = time.perf_counter()
    if name == "ours":
        pipe = load_ours(folder, dtype)
        loaded = time.perf_counter() - begin
        pipe(PROMPT, steps=2, progress=False)
    else:
        pipe = load_theirs(folder, dtype, _torch_device())
        loaded = time.perf_counter() - begin
        pipe(PROMPT, num_inference_steps=2)
    total = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"load": loaded, "load_and_two_steps": total, "peak_gb": peak}))


def in_child(name, args, **env) -> dict:
    command = [
        sys.executable,
        __file__,
        "--child",
        name,
        "--folder",
        str(args.folder),
        "--dtype",
        args.dtype,
    ]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _torch_device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Parts:
    """The same inputs for both sides, and one call for each part of each."""

    def __init__(self, ours, theirs):
        import jax
        import jax.numpy as jnp
        import torch

        from audioldm2_jax.models.gpt2 import GPT2, roll_out
        from audioldm2_jax.models.hifigan import HiFiGAN
        from audioldm2_jax.models.sequence import sequence_positions
        from audioldm2_jax.models.unet import UNet
        from audioldm2_jax.models.vae import VAE

        rng = np.random.default_rng(0)
        device, kind = theirs.device, theirs.unet.dtype
        c, params = ours.config, ours.params
        self.compile_seconds = {}

        def draw(*shape):
            return rng.standard_normal(shape).astype(np.float32)

        def torched(x):
            return torch.tensor(np.asarray(x)).to(device, kind if x.dtype == np.float32 else None)

        def program(name, function, *arguments):
            """Compiled call of function(*arguments), its compile time kept."""
            begin = time.perf_counter()
            run = jax.jit(function).lower(*arguments).compile()
            self.compile_seconds[name] = time.perf_counter() - begin
            return lambda: jax.block_until_ready(run(*arguments))

        def finish(x):
            if device.type == "cuda":
                torch.cuda.synchronize()
            return x

        x, loa, text = draw(2, 256, 16, 8), draw(2, 8, 768), draw(2, 20, 1024)
        mask = np.ones((2, 20), bool)
        unet, variables = UNet(c.unet, ours.dtype), {"params": params["unet"]}
        times = unet.apply(variables, jnp.array([961.0]), method="times")
        keys = jax.jit(lambda v: unet.apply(v, loa, text, method="keys"))(variables)
        x_t = torched(x).permute(0, 3, 1, 2).contiguous()
        loa_t, text_t, mask_t = torched(loa), torched(text), torch.ones(2, 20, device=device)
        self.pairs = {
            "U-Net step": (
                program(
                    "U-Net step",
                    lambda v, *a: unet.apply(v, *a, method="denoise"),
                    variables,
                    x,
                    times,
                    keys,
                    mask,
                ),
                lambda: finish(
                    theirs.unet(
                        x_t,
                        961,
                        encoder_hidden_states=loa_t,
                        encoder_hidden_states_1=text_t,
                        encoder_attention_mask_1=mask_t,
                    ).sample.permute(0, 2, 3, 1)
                ),
            )
        }

        latents = draw(1, 256, 16, 8)
        vae, latents_t = VAE(c.vae, ours.dtype), torched(latents).permute(0, 3, 1, 2).contiguous()
        self.pairs["VAE decode"] = (
            program(
                "VAE decode",
                lambda p, z: vae.apply({"params": p}, z, method="decode"),
                params["vae"],
                latents,
            ),
            lambda: finish(theirs.vae.decode(latents_t).sample[:, 0]),
        )
        mel = draw(1, 1024, 64)
        vocoder, mel_t = HiFiGAN(c.vocoder, ours.dtype), torched(mel)
        self.pairs["vocoder"] = (
            program(
                "vocoder", lambda p, m: vocoder.apply({"params": p}, m), params["vocoder"], mel
            ),
            lambda: finish(theirs.vocoder(mel_t)),
        )
        sequence, kept = draw(2, 40, 768), np.ones((2, 40), bool)
        gpt2, sequence_t = GPT2(c.gpt2, ours.dtype), torched(sequence)
        kept_t = torch.ones(2, 40, dtype=torch.long, device=device)
        positions = sequence_positions(35, [35, 35])
        self.pairs["LOA roll-out"] = (
            program(
                "LOA roll-out",
                lambda p, *a: roll_out(gpt2, p, *a, tokens=8),
                params["gpt2"],
                sequence,
                kept,
                positions,
            ),
            lambda: finish(
                theirs.generate_language_model(sequence_t, attention_mask=kept_t, max_new_tokens=8)
            ),
        )


def differences(pairs) -> dict:
    """Relative L2 between both sides' results, part by part."""
    found = {}
    for name, (ours, theirs) in pairs.items():
        a = np.asarray(ours(), np.float32)
        b = theirs().float().cpu().numpy()
        found[name] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return found


def text_encoders(ours, theirs):
    """From prompt strings to LOA and T5 states, with guidance."""
    from audioldm2_jax.pipelines import program
    from audioldm2_jax.pipelines.text import encode

    job = program.Job(ours.config, ours.dtype, 1, False, 1, None)
    import jax

    def run():
        texts = encode([PROMPT], [""], ours.tokenizers, ours.config, ours.convention)
        arguments = (ours.params, texts, np.zeros(64, np.float32))
        compiled = ours._runner.compiled(
            program.condition, job, *arguments, label="text", progress=False
        )
        return jax.block_until_ready(compiled(*arguments))

    def reference():
        return theirs.encode_prompt([PROMPT], theirs.device, 1, True)

    return run, reference


def main():
    args = options()
    if args.child:
        return child(args.child, args.folder, args.dtype)
    import jax

    on_cpu = jax.default_backend() == "cpu"
    from timing import compare

    if not (args.folder / "model_index.json").exists():
        from audioldm2_jax.checkpoints.random import write_random

        write_random(args.folder, "base")
    with tempfile.TemporaryDirectory() as cache:
        cold = in_child("ours", args, JAX_COMPILATION_CACHE_DIR=cache)
        warm = in_child("ours", args, JAX_COMPILATION_CACHE_DIR=cache)
    peer = in_child("theirs", args)
    print(
        "one process each:", {"ours, cold": cold, "ours, cached": warm, "theirs": peer}, flush=True
    )

    import torch

    if on_cpu:
        torch.set_num_threads(os.cpu_count())
    ours, theirs = (
        load_ours(args.folder, args.dtype),
        load_theirs(args.folder, args.dtype, _torch_device()),
    )
    if args.compile:
        theirs.unet = torch.compile(theirs.unet)
    parts = Parts(ours, theirs)
    agreement = differences(parts.pairs)
    print("relative differences:", agreement, flush=True)
    rows = {}
    for name, (mine, peers) in parts.pairs.items():
        rows[name] = compare(mine, peers, args.repeats)
        print(name, rows[name], flush=True)
    rows["text encoders + LOA"] = compare(*text_encoders(ours, theirs), args.repeats)

    latents = np.random.default_rng(0).standard_normal((1, 256, 16, 8)).astype(np.float32)
    latents_t = torch.tensor(latents).permute(0, 3, 1, 2).to(theirs.device, theirs.unet.dtype)
    made = {}

    def mine():
        made["ours"] = ours(PROMPT, steps=args.steps, latents=latents, progress=False).audio

    def peers():
        made["theirs"] = theirs(PROMPT, num_inference_steps=args.steps, latents=latents_t).audios

    rows["prompt to waveform"] = compare(mine, peers, args.whole)
    error = np.linalg.norm(made["ours"] - made["theirs"]) / np.linalg.norm(made["theirs"])
    agreement["prompt to waveform"] = float(error)
    report(args, rows, agreement, parts.compile_seconds, cold, warm, peer)


def report(args, rows, agreement, compile_seconds, cold, warm, peer):
    import diffusers
    import jax
    import torch
    import transformers

    device = jax.devices()[0].device_kind
    hardware = _processor() if device == "cpu" else device
    result = {
        "date": datetime.date.today().isoformat(),
        "hardware": hardware,
        "threads": os.cpu_count(),
        "dtype": args.dtype,
        "torch_compile": args.compile,
        "steps": args.steps,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
        },
        "parts": rows,
        "relative_difference": agreement,
        "compile_seconds": compile_seconds,
        "process": {"ours_cold": cold, "ours_cached": warm, "theirs": peer},
    }
    kind = "cpu" if device == "cpu" else device.replace(" ", "-").lower()
    name = f"versus_diffusers-{kind}-{args.dtype}{'-compiled' if args.compile else ''}.json"
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / name).write_text(json.dumps(result, indent=2) + "\n")
    print(f"\n{hardware}, {os.cpu_count()} threads, {args.dtype}, {result['date']}; ", end="")
    print(", ".join(f"{k} {v}" for k, v in result["versions"].items()))
    print("\n| part | ours s | diffusers s | ratio | target | relative difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for part, row in rows.items():
        target, error = TARGETS.get(part, ""), agreement.get(part)
        shown = "" if error is None else f"{error:.1e}"
        print(
            f"| {part} | {row['ours']:.3f} | {row['theirs']:.3f} | {row['ratio']:.2f} | {target} "
            f"| {shown} |"
        )
    for label, key in (
        ("load", "load"),
        ("process: load, two steps", "load_and_two_steps"),
        ("peak memory GB", "peak_gb"),
    ):
        print(
            f"| {label} (first / cached) | {cold[key]:.1f} / {warm[key]:.1f} | {peer[key]:.1f} "
            f"| {warm[key] / peer[key]:.2f} | | |"
        )


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()

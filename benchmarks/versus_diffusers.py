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
from parts import PROMPT, Parts

HERE = Path(__file__).parent
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
    """One process of one candidate: load, one two-step clip as a user would run it."""
    begin = time.perf_counter()
    if name == "ours":
        pipe = load_ours(folder, dtype)
        loaded = time.perf_counter() - begin
        pipe(PROMPT, steps=2, progress=True)
    else:
        pipe = load_theirs(folder, dtype, _torch_device())
        loaded = time.perf_counter() - begin
        pipe(PROMPT, num_inference_steps=2)
    total = time.perf_counter() - begin
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result = {"load": loaded, "load_and_two_steps": total, "peak_gb": usage.ru_maxrss / 2**20}
    # Of the whole process, imports included.
    print(json.dumps(result | {"cpu_seconds": usage.ru_utime + usage.ru_stime}))


def in_child(name, args, **env) -> dict:
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
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
    done = subprocess.run(
        command, env=os.environ | env, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def _torch_device():
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def differences(pairs) -> dict:
    """Relative L2 between both sides' results, part by part."""
    results = {}
    for name, calls in pairs.items():
        a = np.asarray(calls["ours"](), np.float32)
        b = calls["theirs"]().float().cpu().numpy()
        results[name] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return results


def processes(args) -> dict:
    """Each candidate in a process of its own: ours with an empty and with a filled cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold = in_child("ours", args, XDG_CACHE_HOME=cache)
        warm = in_child("ours", args, XDG_CACHE_HOME=cache)
    return {"ours_cold": cold, "ours_cached": warm, "theirs": in_child("theirs", args)}


def whole(ours, theirs, steps):
    """From prompt to waveform from the same noise; the calls keep their results in `made`."""
    import torch

    latents = np.random.default_rng(0).standard_normal((1, 256, 16, 8)).astype(np.float32)
    latents_t = torch.tensor(latents).permute(0, 3, 1, 2).to(theirs.device, theirs.unet.dtype)
    outputs = {}

    def mine():
        outputs["ours"] = ours(PROMPT, steps=steps, latents=latents, progress=False).audio

    def peers():
        outputs["theirs"] = theirs(PROMPT, num_inference_steps=steps, latents=latents_t).audios

    return mine, peers, outputs


def main():
    args = options()
    if args.child:
        child(args.child, args.folder, args.dtype)
        return
    from timing import compare

    if not (args.folder / "model_index.json").exists():
        from audioldm2_jax.data.untrained import write_random

        write_random(args.folder, "base")
    alone = processes(args)
    print("one process each:", alone, flush=True)
    import torch

    from audioldm2_jax import backend

    if backend.current().is_cpu:
        torch.set_num_threads(os.cpu_count())
    ours = load_ours(args.folder, args.dtype)
    theirs = load_theirs(args.folder, args.dtype, _torch_device())
    if args.compile:
        theirs.unet = torch.compile(theirs.unet)
    parts = Parts(ours, theirs)
    pairs = {
        "U-Net step": parts.unet_step(),
        "VAE decode": parts.vae(),
        "vocoder": parts.vocoder(),
        "LOA roll-out": parts.roll_out(),
    }
    agreement, rows = differences(pairs), {}
    print("relative differences:", agreement, flush=True)
    for name, calls in pairs.items():
        rows[name] = compare(**calls, repeats=args.repeats)
        print(name, rows[name], flush=True)
    rows["text encoders + LOA"] = compare(**parts.text(), repeats=args.repeats)
    mine, peers, outputs = whole(ours, theirs, args.steps)
    rows["prompt to waveform"] = compare(mine, peers, args.whole)
    error = np.linalg.norm(outputs["ours"] - outputs["theirs"]) / np.linalg.norm(outputs["theirs"])
    agreement["prompt to waveform"] = float(error)
    report(args, rows, agreement, parts.compile_seconds, alone)


def report(args, rows, agreement, compile_seconds, alone):
    import diffusers
    import jax
    import torch
    import transformers

    from audioldm2_jax import files

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
        "process": alone,
    }
    kind = "cpu" if device == "cpu" else device.replace(" ", "-").lower()
    name = f"versus_diffusers-{kind}-{args.dtype}{'-compiled' if args.compile else ''}.json"
    files.write_json(HERE / "results" / name, result)
    print(f"\n{hardware}, {os.cpu_count()} threads, {args.dtype}, {result['date']}; ", end="")
    print(", ".join(f"{k} {v}" for k, v in result["versions"].items()), end="\n\n")
    print_table(rows, agreement, alone)


def print_table(rows, agreement, alone):
    """The README's table."""
    print("| part | ours s | diffusers s | ratio | target | relative difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for part, row in rows.items():
        error = agreement.get(part)
        cells = [part, f"{row['ours']:.2f}", f"{row['theirs']:.2f}", f"{row['ratio']:.2f}"]
        cells += [str(TARGETS.get(part, "")), "" if error is None else f"{error:.0e}"]
        print("|", " | ".join(cells), "|")
    labels = {"load": "load", "load_and_two_steps": "process: load, two steps"}
    for key, label in (labels | {"peak_gb": "process: peak memory, GB"}).items():
        cold, warm, peer = (alone[k][key] for k in ("ours_cold", "ours_cached", "theirs"))
        cells = [f"{label} (first time / cached)", f"{cold:.1f} / {warm:.1f}", f"{peer:.1f}"]
        print("|", " | ".join([*cells, f"{warm / peer:.2f}", "", ""]), "|")


def _processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()

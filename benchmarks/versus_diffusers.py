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


class Parts:
    """The same inputs for both sides, and one call for each part of each: `pairs`."""

    def __init__(self, ours, theirs):
        self.ours, self.theirs = ours, theirs
        self.rng = np.random.default_rng(0)
        self.compile_seconds = {}
        self.pairs = {
            "U-Net step": self._unet(),
            "VAE decode": self._vae(),
            "vocoder": self._vocoder(),
            "LOA roll-out": self._roll_out(),
        }

    def _draw(self, *shape):
        """An input as numpy, for us, and as a torch tensor on their device in their dtype."""
        import torch

        x = self.rng.standard_normal(shape).astype(np.float32)
        return x, torch.tensor(x).to(self.theirs.device, self.theirs.unet.dtype)

    def _program(self, name, function, *arguments):
        """A compiled call of function(*arguments); its compile time is kept."""
        import jax

        begin = time.perf_counter()
        run = jax.jit(function).lower(*arguments).compile()
        self.compile_seconds[name] = time.perf_counter() - begin
        return lambda: jax.block_until_ready(run(*arguments))

    def _finished(self, function):
        """Their call, waiting for the device."""
        import torch

        def run():
            x = function()
            if self.theirs.device.type == "cuda":
                torch.cuda.synchronize()
            return x

        return run

    def _unet(self):
        """One evaluation at CFG batch 2 for 10.24 s, 20 text tokens."""
        import jax
        import jax.numpy as jnp
        import torch

        from audioldm2_jax.models.unet import UNet

        x, x_t = self._draw(2, 256, 16, 8)
        (loa, loa_t), (text, text_t) = self._draw(2, 8, 768), self._draw(2, 20, 1024)
        mask, mask_t = np.ones((2, 20), bool), torch.ones(2, 20, device=self.theirs.device)
        x_t = x_t.permute(0, 3, 1, 2).contiguous()
        unet = UNet(self.ours.config.unet, self.ours.dtype)
        variables = {"params": self.ours.params["unet"]}
        times = unet.apply(variables, jnp.array([961.0]), method="time_bias")
        keys = jax.jit(lambda v: unet.apply(v, loa, text, method="kv"))(variables)

        def step(variables, *arguments):
            return unet.apply(variables, *arguments, method="denoise")

        def reference():
            return self.theirs.unet(
                x_t,
                961,
                encoder_hidden_states=loa_t,
                encoder_hidden_states_1=text_t,
                encoder_attention_mask_1=mask_t,
            ).sample.permute(0, 2, 3, 1)

        ours = self._program("U-Net step", step, variables, x, times, keys, mask)
        return ours, self._finished(reference)

    def _vae(self):
        """Latents of 10.24 s to mel."""
        from audioldm2_jax.models.vae import VAE

        latents, latents_t = self._draw(1, 256, 16, 8)
        latents_t = latents_t.permute(0, 3, 1, 2).contiguous()
        vae = VAE(self.ours.config.vae, self.ours.dtype)

        def decode(params, latents):
            return vae.apply({"params": params}, latents, method="decode")

        ours = self._program("VAE decode", decode, self.ours.params["vae"], latents)
        return ours, self._finished(lambda: self.theirs.vae.decode(latents_t).sample[:, 0])

    def _vocoder(self):
        """Mel of 10.24 s to waveform."""
        from audioldm2_jax.models.hifigan import HiFiGAN

        mel, mel_t = self._draw(1, 1024, 64)
        vocoder = HiFiGAN(self.ours.config.vocoder, self.ours.dtype)

        def speak(params, mel):
            return vocoder.apply({"params": params}, mel)

        ours = self._program("vocoder", speak, self.ours.params["vocoder"], mel)
        return ours, self._finished(lambda: self.theirs.vocoder(mel_t))

    def _roll_out(self):
        """Eight LOA vectors after a sequence of 40, two prompts."""
        import torch

        from audioldm2_jax.models.gpt2 import GPT2, roll_out
        from audioldm2_jax.models.loa_projection import sequence_positions

        sequence, sequence_t = self._draw(2, 40, 768)
        kept_t = torch.ones(2, 40, dtype=torch.long, device=self.theirs.device)
        gpt2 = GPT2(self.ours.config.gpt2, self.ours.dtype)

        def roll(params, *arguments):
            return roll_out(gpt2, params, *arguments, tokens=8)

        def reference():
            return self.theirs.generate_language_model(
                sequence_t, attention_mask=kept_t, max_new_tokens=8
            )

        inputs = (sequence, np.ones((2, 40), bool), sequence_positions(35, [35, 35]))
        ours = self._program("LOA roll-out", roll, self.ours.params["gpt2"], *inputs)
        return ours, self._finished(reference)


def differences(pairs) -> dict:
    """Relative L2 between both sides' results, part by part."""
    results = {}
    for name, (ours, theirs) in pairs.items():
        a = np.asarray(ours(), np.float32)
        b = theirs().float().cpu().numpy()
        results[name] = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    return results


def text_encoders(ours, theirs):
    """From prompt strings to LOA and T5 states, with guidance."""
    import jax

    from audioldm2_jax.pipelines.programs import shared
    from audioldm2_jax.pipelines.request import ClipRequest
    from audioldm2_jax.pipelines.text import tokenise

    request = ClipRequest(PROMPT, guidance=2.0)

    def run():
        texts = tokenise([request], ours.tokenizers, ours.config, ours.convention)
        arguments = (ours.params, texts)
        compiled = ours._runner.compiled(
            shared.condition, ours._program, *arguments, label="text", progress=False
        )
        return jax.block_until_ready(compiled(*arguments))

    def reference():
        return theirs.encode_prompt([PROMPT], theirs.device, 1, True)

    return run, reference


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
    agreement, rows = differences(parts.pairs), {}
    print("relative differences:", agreement, flush=True)
    for name, (mine, peers) in parts.pairs.items():
        rows[name] = compare(mine, peers, args.repeats)
        print(name, rows[name], flush=True)
    rows["text encoders + LOA"] = compare(*text_encoders(ours, theirs), args.repeats)
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

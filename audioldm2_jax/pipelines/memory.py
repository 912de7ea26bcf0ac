"""What a model and a request need in memory, from shapes and compiled programs, before any weight.

Nothing here reads weights or computes: programs are compiled for shapes alone.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend, tree
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.diffusion.samplers import SamplerSchedule
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.decoder import merge_products
from audioldm2_jax.models.int8 import quantize_in_place, quantizes
from audioldm2_jax.models.kernels.prepacked import prepack_kernels
from audioldm2_jax.pipelines.batch import Batch, latents_shape
from audioldm2_jax.pipelines.in_turn import check_peaks, compile_in_turn
from audioldm2_jax.pipelines.parts import stage_bytes
from audioldm2_jax.pipelines.programs import program_of
from audioldm2_jax.pipelines.programs.shared import Clips
from audioldm2_jax.pipelines.request import Request
from audioldm2_jax.pipelines.runner import (
    Runner,
    available_memory,
    check_fits,
)
from audioldm2_jax.pipelines.stepwise import compile_steps
from audioldm2_jax.pipelines.text import blank
from audioldm2_jax.pipelines.together import compile_together
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.sharding import make_mesh


def prepack_params(params: dict, dtype) -> dict:
    """Parameters by part, with prepacked kernels if the backend computes with them.

    Leaves are shared with `params`, which stays as it is.
    """
    if not backend.current().prepacks(dtype):
        return dict(params)
    decoder = prepack_kernels(params["vae"]["decoder"])
    return params | {
        "unet": prepack_kernels(params["unet"]),
        "vae": params["vae"] | {"decoder": decoder},
        "vocoder": prepack_kernels(params["vocoder"]),
    }


def prepack_part(name: str, params: dict, dtype) -> None:
    """Replaces kernels of one part by prepacked ones, block by block, which saves memory."""
    if name in ("musicgen_lm", "semantic_lm", "coarse_lm", "fine_lm"):
        params["decoder"] = merge_products(params["decoder"])
    if backend.current().prepacks(dtype) and name in ("unet", "vae", "vocoder"):
        blocks = params["decoder"] if name == "vae" else params
        for block in blocks:
            blocks |= prepack_kernels({block: blocks[block]})


# Parts that make tokens of sound, or sound of tokens: fewer bits would change the tokens.
_EXACT = ("soundstream", "encodec", "dac", "mimi", "hubert", "w2v_bert", "kmeans")


def part_dtype(name: str, dtype):
    """The dtype of a part's weights and activations in a model of `dtype`."""
    return jnp.float32 if name in _EXACT else dtype


def model_shapes(config, dtype, quantize: str | None = None) -> dict:
    """{part: tree of parameter shapes} as a checkpoint's files hold them, in `dtype`.

    quantize: as of `Pipeline.from_pretrained`.
    """
    names, shapes = [name for name in parts_of(config) if name != "audiomae"], {}
    for name in names:
        own = functools.partial(_cast, dtype=part_dtype(name, dtype))
        shapes[name] = jax.tree.map(own, PARTS[name].shapes(getattr(config, name)))
    for name in [name for name in names if quantizes(name, quantize)]:
        quantize_in_place(shapes[name])
    return shapes


def _cast(leaf, dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, dtype)


def check_model(
    config,
    dtype,
    source: str,
    devices=None,
    *,
    quantize: str | None = None,
    low_memory: bool = False,
) -> None:
    """Raises InputError if the weights alone exceed the free memory of a device.

    low_memory: only those of one stage are held at once.
    """
    shapes, free = model_shapes(config, dtype, quantize), available_memory(devices)
    largest = max(stage_bytes(shapes).values())
    needed = largest if low_memory else tree.nbytes(shapes)
    if needed <= free:
        return
    # Weights of the latent diffusion models alone are read in turn, or in eight bits.
    diffusion = "unet" in shapes
    smaller = ["--low_memory"] if diffusion and not low_memory and largest <= free else []
    smaller += ["--quantize int8"] if diffusion and quantize is None else []
    smaller += ["--dtype bf16"] if dtype != jnp.bfloat16 else []
    raise InputError(
        f"{source}: its weights need {needed / 1e9:.1f} GB in {jnp.dtype(dtype).name}"
        f"{' at once' if low_memory else ''}, {free / 1e9:.1f} GB are free: take "
        f"{', '.join([*smaller, 'or a smaller model'] if smaller else ['a smaller model'])}"
    )


def estimate(
    config: ModelConfig, request: Request, dtype, *, quantize: str | None = None, progress: bool
) -> tuple[int, int]:
    """(bytes of the weights as they are held, bytes that the request takes beside them).

    Compiles the programs that the request would run on the default device, for typical texts.
    quantize: as of `Pipeline.from_pretrained`. Raises InputError if one of them cannot run here.
    """
    shapes = model_shapes(config, dtype, quantize)
    shapes = jax.eval_shape(lambda p: prepack_params(p, dtype), shapes)
    mesh = make_mesh(devices=jax.devices()[:1]) if backend.current().batched else None
    runner = Runner(dtype, mesh)
    batch = _batch_of(config, request, runner.batch_size(request.waveforms))
    compile_batch = compile_together if runner.mesh else compile_steps
    program = program_of(config, dtype)
    programs = compile_batch(runner, program, shapes, batch, progress=progress)
    return tree.nbytes(shapes), programs.needed


def estimate_in_turn(
    config: ModelConfig, request: Request, dtype, *, quantize: str | None = None, progress: bool
) -> dict[str, int]:
    """{stage: bytes that it takes, its weights included} of a request with low memory.

    Otherwise as `estimate`.
    """
    shapes, batch = (
        model_shapes(config, dtype, quantize),
        _batch_of(config, request, request.waveforms),
    )
    arguments = Runner(dtype), program_of(config, dtype), shapes, batch
    peaks = compile_in_turn(*arguments, progress=progress).peaks
    check_peaks(peaks)
    return peaks


def _batch_of(config: ModelConfig, request: Request, count: int) -> Batch:
    frames, schedule = request.duration.frames, request.sampling.schedule
    return typical_batch(config, frames, schedule, count, guided=request.clips[0].guided)


def typical_batch(
    config: ModelConfig, frames: int, schedule: SamplerSchedule, count: int, *, guided: bool
) -> Batch:
    """Shapes of `count` clips of one request, with texts of usual length."""
    clips = Clips(
        blank(config, count, guided=guided),
        np.ones(count, np.float32) if guided else None,
        jax.eval_shape(lambda: jax.random.split(jax.random.key(0), count)),
        jax.ShapeDtypeStruct(latents_shape(config, frames, count), jnp.float32),
    )
    return Batch(clips, schedule, np.zeros(count, int))


def least_memory(frames: int, config: ModelConfig, itemsize: int, clips: int = 1) -> int:
    """A lower bound of the bytes that sampling takes beside the weights.

    A quarter of an estimate: all clips' images of the U-Net at its finest level, guided; one clip's
    widest images at the decoder's end. The estimate is within a factor of two of what the compiler
    reports for base on the CPU; exact numbers come from the compiled program.
    """
    vae, unet = config.vae, config.unet
    bins = config.vocoder.mels // vae.factor
    stream = 24 * 2 * clips * frames * bins * unet.channels[0]
    image = 5 * frames * vae.factor * config.vocoder.mels * vae.channels[1]
    return itemsize * (stream + image) // 4


def check_memory(
    config: ModelConfig, request: Request, dtype, devices=None, *, low_memory: bool = False
) -> None:
    """Raises InputError if a request certainly cannot fit; compiled programs are checked exactly.

    devices: that split the clips; None: the backend's own, on the CPU clip by clip, as with
    low_memory.
    """
    count, duration = request.waveforms, request.duration
    if devices is None and not low_memory and backend.current().batched:
        devices = jax.local_devices()
    at_once = 1 if devices is None else -(-count // len(devices))
    least = least_memory(duration.frames, config, jnp.dtype(dtype).itemsize, at_once)
    # All clips' initial noise and waveforms, in fp32.
    shape = latents_shape(config, duration.frames, count)
    least += 4 * (math.prod(shape) + count * int(duration.seconds * config.vocoder.sample_rate))
    check_fits(least, f"{count} clips of {duration.seconds:g} s", devices)


def memory_line(weights: int, needed: int, devices=None) -> str:
    """One line for the user before a run; bytes are those of each device."""
    free = available_memory(devices)
    return (
        f"memory: {weights / 1e9:.2f} GB of weights, {needed / 1e9:.2f} GB to run, "
        f"{free / 1e9:.1f} GB free"
    )


def stages_line(peaks: dict[str, int]) -> str:
    """The same of networks in turn. peaks: {stage: bytes that it takes}."""
    stages = ", ".join(f"{stage} {peak / 1e9:.2f}" for stage, peak in peaks.items())
    return (
        f"memory: {max(peaks.values()) / 1e9:.2f} GB at most, weights in turn ({stages}), "
        f"{available_memory() / 1e9:.1f} GB free"
    )

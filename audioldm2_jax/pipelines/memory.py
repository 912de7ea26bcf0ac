"""What a model and a request need in memory, from shapes and compiled programs, before any weight.

Nothing here reads weights or computes: programs are compiled for shapes alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.kernels.prepacked import prepack_kernels
from audioldm2_jax.pipelines import program
from audioldm2_jax.pipelines.parts import compile_parts, in_parts
from audioldm2_jax.pipelines.request import Request
from audioldm2_jax.pipelines.run import Runner, available_memory, needed_memory, tree_bytes
from audioldm2_jax.pipelines.text import blank
from audioldm2_jax.presets import Convention, ModelConfig


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


def model_shapes(config: ModelConfig, dtype) -> dict:
    """{part: tree of parameter shapes} as a file holds them."""

    def cast(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, dtype)

    names = [name for name in parts_of(config) if name != "audiomae"]
    return {n: jax.tree.map(cast, PARTS[n].shapes(getattr(config, n))) for n in names}


def check_model(config: ModelConfig, dtype, source: str) -> None:
    """Raises InputError if the weights alone exceed the free memory."""
    needed, free = tree_bytes(model_shapes(config, dtype)), available_memory()
    if needed > free:
        smaller = "a smaller model" if dtype == jnp.bfloat16 else "--dtype bf16, or a smaller model"
        raise InputError(
            f"{source}: its weights need {needed / 1e9:.1f} GB in {jnp.dtype(dtype).name}, "
            f"{free / 1e9:.1f} GB are free: take {smaller}"
        )


def job_for(config: ModelConfig, convention: Convention, asked: Request, dtype) -> program.Job:
    """What a request fixes at compilation."""
    return program.Job(
        config,
        dtype,
        len(asked.unconditional),
        convention.zero_loa and not any(asked.negatives),
        asked.candidates,
        asked.grid.samples,
    )


def latents_shape(config: ModelConfig, asked: Request) -> tuple[int, ...]:
    """[prompts * candidates, T, F, C]."""
    bins = config.vocoder.mels // config.vae.factor
    return (asked.clips, asked.grid.frames, bins, config.unet.in_channels)


def estimate(
    config: ModelConfig, convention: Convention, asked: Request, dtype, *, progress: bool
) -> tuple[int, int]:
    """(bytes of the weights as they are held, bytes that the request takes beside them).

    Compiles the programs that the request would run, for typical texts.
    Raises InputError if one of them cannot run here.
    """
    shapes = jax.eval_shape(lambda p: prepack_params(p, dtype), model_shapes(config, dtype))
    arguments = (
        blank(config, len(asked.unconditional), len(asked.prompts)),
        asked.plan,
        np.float32(asked.guidance),
        jax.eval_shape(lambda: jax.random.split(jax.random.key(0), asked.clips)),
        jax.ShapeDtypeStruct(latents_shape(config, asked), jnp.float32),
    )
    job = job_for(config, convention, asked, dtype)
    runner = Runner(shapes, dtype)
    if in_parts():
        shape = latents_shape(config, asked)
        parts = compile_parts(runner, job, *arguments[:2], shape, progress=progress)
        return tree_bytes(shapes), parts.needed
    run = runner.whole(job, *arguments, progress=progress)
    return tree_bytes(shapes), needed_memory(run)


def memory_line(weights: int, needed: int) -> str:
    """What a user reads before a run."""
    free = available_memory()
    return (
        f"memory: {weights / 1e9:.2f} GB of weights, {needed / 1e9:.2f} GB to run, "
        f"{free / 1e9:.1f} GB free"
    )

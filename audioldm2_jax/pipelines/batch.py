"""Requests of several users as the arrays of one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax.diffusion.samplers import SamplerSchedule
from audioldm2_jax.pipelines.durations import Duration
from audioldm2_jax.pipelines.programs.shared import Clips, clip_noise
from audioldm2_jax.pipelines.request import ClipRequest
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


@dataclass(frozen=True)
class Batch:
    """Clips of one number of latent frames, sampled by one schedule.

    owners: [B], the number of each clip's request; each request's candidates are contiguous. clips:
    the arrays of at least B clips; those behind are copies of the last, and are dropped.
    """

    clips: Clips
    schedule: SamplerSchedule
    owners: np.ndarray


def make_batch(
    requests: Sequence[ClipRequest],
    texts: Texts,
    frames: int,
    schedule: SamplerSchedule,
    config: ModelConfig,
    *,
    size: int,
    latents: np.ndarray | None = None,
) -> Batch:
    """texts: of the requests; size: clips to fill up to, at least B; latents: [B, T, F, C] in place
    of the seeds' noise.
    """
    owners = np.repeat(np.arange(len(requests)), [r.candidates for r in requests])
    filled = np.minimum(np.arange(size), len(owners) - 1)
    rows = owners[filled]
    keys = clip_keys(requests, filled)
    if latents is None:
        latents = clip_noise(keys, 0, latents_shape(config, frames, size))
    else:
        latents = jnp.asarray(latents[filled])
    # Guidance of 1 is none: what is added to the unconditional prediction is the difference.
    guidance = np.array([r.guidance if r.guided else 1.0 for r in requests], np.float32)
    guidance = guidance[rows] if texts.guided else None
    clips = Clips(texts.take(rows), guidance, keys, latents)
    return Batch(clips, schedule, owners)


def clip_keys(requests: Sequence[ClipRequest], clips) -> jax.Array:
    """The keys of some candidates of all requests: the seed's, folded with the clip's number."""
    seeds = [r.seed for r in requests for _ in range(r.candidates)]
    numbers = [r.clip + i for r in requests for i in range(r.candidates)]
    return _fold(*(np.array(x, np.uint64).astype(np.uint32)[clips] for x in (seeds, numbers)))


@jax.jit
def _fold(seeds, numbers):
    return jax.vmap(lambda seed, i: jax.random.fold_in(jax.random.key(seed), i))(seeds, numbers)


def latents_shape(config: ModelConfig, frames: int, clips: int) -> tuple[int, ...]:
    """[B, T, F, C]."""
    bins = config.vocoder.mels // config.vae.factor
    return (clips, frames, bins, config.unet.in_channels)


def group_by_frames(durations: Sequence[Duration]) -> dict[int, list[int]]:
    """{latent frames: numbers of the requests that have so many}."""
    groups: dict[int, list[int]] = {}
    for i, duration in enumerate(durations):
        groups.setdefault(duration.frames, []).append(i)
    return groups


def first_evaluation(batch: Batch) -> Batch:
    """The batch's first clip, with the schedule cut behind the first evaluation of the network."""
    rows = ("timesteps", "input_scales", "matrices", "x0_weights")
    first = {name: getattr(batch.schedule, name)[:1] for name in rows}
    schedule = dataclasses.replace(batch.schedule, **first)
    return dataclasses.replace(batch, schedule=schedule, owners=batch.owners[:1])

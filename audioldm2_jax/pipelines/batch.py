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

    clips: the arrays of B clips, each request's candidates contiguous; owners: [B], the number of
    each clip's request.
    """

    clips: Clips
    schedule: SamplerSchedule
    owners: np.ndarray

    def padded(self, size: int) -> Batch:
        """The batch with its last clip repeated up to `size` clips."""
        return self.take(np.minimum(np.arange(size), len(self.owners) - 1))

    def take(self, clips) -> Batch:
        """The batch of the clips of these numbers."""
        clips = np.asarray(clips)
        taken = Clips(
            self.clips.texts.take(clips),
            self.clips.guidance[clips],
            self.clips.keys[clips],
            self.clips.latents[clips],
        )
        return Batch(taken, self.schedule, self.owners[clips])


def make_batch(
    requests: Sequence[ClipRequest],
    texts: Texts,
    frames: int,
    schedule: SamplerSchedule,
    config: ModelConfig,
    latents: np.ndarray | None = None,
) -> Batch:
    """texts: of the requests; latents: [B, T, F, C] in place of the seeds' noise."""
    owners = np.repeat(np.arange(len(requests)), [r.candidates for r in requests])
    keys = clip_keys(requests)
    if latents is None:
        latents = clip_noise(keys, 0, latents_shape(config, frames, len(owners)))
    # Guidance of 1 is none: what is added to the unconditional prediction is the difference.
    guidance = np.array([r.guidance if r.guided else 1.0 for r in requests], np.float32)
    clips = Clips(texts.take(owners), guidance[owners], keys, jnp.asarray(latents))
    return Batch(clips, schedule, owners)


def clip_keys(requests: Sequence[ClipRequest]) -> jax.Array:
    """A key for each candidate: the seed's, folded with the clip's number among the seed's."""
    seeds = [r.seed for r in requests for _ in range(r.candidates)]
    numbers = [r.clip + i for r in requests for i in range(r.candidates)]
    return _fold(np.array(seeds, np.uint32), np.array(numbers, np.uint32))


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
    """The batch with its schedule cut behind the first evaluation of the network."""
    rows = ("timesteps", "input_scales", "matrices")
    first = {name: getattr(batch.schedule, name)[:1] for name in rows}
    return dataclasses.replace(batch, schedule=dataclasses.replace(batch.schedule, **first))

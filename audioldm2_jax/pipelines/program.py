"""From token ids to waveform as pure functions; `generate` is all of it, jitted as one program.

`condition` makes once per request what every step needs, `denoiser` is one evaluation of the
network inside a sampler, `render` turns latents into sound.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.diffusion.guidance import guided
from audioldm2_jax.diffusion.samplers import Plan, sample
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.gpt2 import GPT2, roll_out
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.models.sequence import SequenceProjection, sequence_positions
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import AudioLDM2Config


@dataclasses.dataclass(frozen=True)
class Job:
    """What is fixed when a program is compiled.

    unconditional: U, the number of unconditional texts (0: no guidance); zero_loa: their LOA is
    zeros; candidates: clips for each prompt; samples: length of the waveform, None for all of it.
    """

    config: AudioLDM2Config
    dtype: Any
    unconditional: int
    zero_loa: bool
    candidates: int
    samples: int | None


def condition(job: Job, params: dict, texts: Texts, timesteps) -> tuple[dict, jax.Array]:
    """Contexts' keys and values, masks and time biases; and the prompts' CLAP features [P, D]."""
    c, dtype, first = job.config, job.dtype, job.unconditional
    t5, unet = T5Encoder(c.t5, dtype), UNet(c.unet, dtype)
    states = t5.apply({"params": params["t5"]}, texts.t5, texts.t5_mask)
    # Unconditional texts whose LOA is zeros need neither CLAP nor GPT-2.
    skip = first if job.zero_loa else 0
    features = CLAP(c.clap, dtype).apply(
        {"params": params["clap"]},
        texts.clap[skip:],
        texts.clap_mask[skip:],
        method="text_features",
    )
    sequence, kept = SequenceProjection(c.projection, dtype).apply(
        {"params": params["projection"]}, features, states[skip:], texts.t5_mask[skip:]
    )
    positions = sequence_positions(texts.t5.shape[1], texts.positions[skip:])
    loa = roll_out(
        GPT2(c.gpt2, dtype), params["gpt2"], sequence, kept, positions, tokens=c.gpt2.tokens
    )
    loa = jnp.concatenate([jnp.zeros((skip, *loa.shape[1:]), loa.dtype), loa])
    variables = {"params": params["unet"]}
    keys = unet.apply(variables, loa, states, method="keys")
    times = unet.apply(variables, timesteps, method="times")
    prompts = texts.t5.shape[0] - first

    def clips(x):
        """[U + P, ...] -> a row for each clip: unconditional half first, candidates contiguous."""
        within = jnp.repeat(x[first:], job.candidates, 0)
        if not first:
            return within
        without = jnp.broadcast_to(x[:first], (prompts, *x.shape[1:]))
        return jnp.concatenate([jnp.repeat(without, job.candidates, 0), within])

    context = {"keys": jax.tree.map(clips, keys), "mask": clips(texts.t5_mask), "times": times}
    return context, features[first - skip :]


def denoiser(job: Job, params: dict, context: dict, guidance):
    """denoise(x, index) for the samplers: the network at one timestep, guided."""
    unet = UNet(job.config.unet, job.dtype)

    def denoise(x, index):
        times = jax.tree.map(
            lambda rows: jax.lax.dynamic_slice_in_dim(rows, index, 1), context["times"]
        )
        return unet.apply(
            {"params": params["unet"]}, x, times, context["keys"], context["mask"], method="denoise"
        )

    return guided(denoise, guidance) if job.unconditional else denoise


def clip_noise(keys, index, shape) -> jax.Array:
    """Unit noise, each clip from its own key. keys: [B]; index 0 is the initial noise."""
    draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape[1:]))
    return draw(keys)


def render(job: Job, params: dict, latents) -> jax.Array:
    """latents: [B, T, F, C] -> waveforms [B, samples] fp32, clip by clip in small groups."""
    c, dtype = job.config, job.dtype
    vae, vocoder = VAE(c.vae, dtype), HiFiGAN(c.vocoder, dtype)

    def group(latents):
        mel = vae.apply({"params": params["vae"]}, latents / c.vae.scale, method="decode")
        return vocoder.apply({"params": params["vocoder"]}, mel)[:, : job.samples]

    # The decoders' activations dwarf everything else: bound how many clips hold them at once.
    size = 1 if jax.default_backend() == "cpu" else 8
    if latents.shape[0] <= size:
        return group(latents)
    waves = jax.lax.map(lambda z: group(z[None])[0], latents, batch_size=size)
    return waves


def generate(job: Job, params: dict, texts: Texts, plan: Plan, guidance, keys, latents):
    """All of it. latents: [B, T, F, C] noise -> (waveforms [B, samples], CLAP features [P, D])."""
    context, features = condition(job, params, texts, jnp.asarray(plan.timesteps))
    denoise = denoiser(job, params, context, guidance)

    def noise(index):
        return clip_noise(keys, index + 1, latents.shape)

    latents = sample(denoise, latents, plan, noise)
    return render(job, params, latents), features

"""From token ids to waveform as pure functions; `generate` is all of it, jitted as one program.

`condition` makes once per request what every step needs, `denoiser` is one evaluation of the
network inside a sampler, `render` turns latents into sound.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax import backend
from audioldm2_jax.diffusion.guidance import cfg_denoise, interleave
from audioldm2_jax.diffusion.samplers import SamplerSchedule, sample
from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.encoders.latents import decode_latents, vocode_mel
from audioldm2_jax.encoders.loa import generate_loa, lm_inputs
from audioldm2_jax.encoders.text import phoneme_states, t5_states
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


@dataclasses.dataclass(frozen=True)
class Job:
    """What is fixed when a program is compiled.

    unconditional: U, the number of unconditional texts (0: no guidance); zero_loa: the LOA of all
    of them is zeros; candidates: clips for each prompt; samples: length of the waveform, None for
    all of it.
    """

    config: ModelConfig
    dtype: Any
    unconditional: int
    zero_loa: bool
    candidates: int
    samples: int | None


def condition(job: Job, params: dict, texts: Texts, timesteps) -> tuple[dict, jax.Array | None]:
    """Contexts' keys and values, masks, biases; and the prompts' CLAP features [P, D] or None."""
    c, first = job.config, job.unconditional
    states = _text_states(job, params, texts)
    # Unconditional texts whose LOA is zeros, or that CLAP only ranks for, need no CLAP.
    needless = (job.zero_loa and c.gpt2) or not (c.gpt2 or c.unet.film)
    skip = first if needless else 0
    features = None
    if c.clap:
        tokens = texts.clap[skip:], texts.clap_mask[skip:]
        features = clap_text_features(params["clap"], *tokens, c.clap, job.dtype)
    unet, variables = UNet(c.unet, job.dtype), {"params": params["unet"]}
    if c.gpt2:
        loa, loa_mask = _language_of_audio(job, params, texts, features, states, skip)
        streams, masks = (loa, states), (loa_mask, None if c.phonemes else texts.text_mask)
    else:
        streams, masks = (states, None), (texts.text_mask, None)
    prompts = (texts.clap if texts.text is None else texts.text).shape[0] - first

    def clips(x):
        """[U + P, ...] -> [B, ...], candidates contiguous, or `interleave`d pairs [2 B, ...]."""
        cond = jnp.repeat(x[first:], job.candidates, 0)
        if not first:
            return cond
        uncond = jnp.broadcast_to(x[:first], (prompts, *x.shape[1:]))
        return interleave(jnp.repeat(uncond, job.candidates, 0), cond)

    context = {"kv": unet.apply(variables, *streams, method="kv"), "masks": masks}
    if c.unet.film:
        context["film_bias"] = unet.apply(variables, features, method="film_bias")
    context = jax.tree.map(clips, context)
    context["time_bias"] = unet.apply(variables, timesteps, method="time_bias")
    return context, None if features is None else features[first - skip :]


def _text_states(job, params, texts):
    """T5's (or the phonemes') states [U + P, L, D]; None for models without."""
    c = job.config
    if c.phonemes:
        tokens = texts.text, texts.text_mask
        return phoneme_states(params["phonemes"], *tokens, c.phonemes, job.dtype)
    if c.t5:
        return t5_states(params["t5"], texts.text, texts.text_mask, c.t5, job.dtype)
    return None


def _language_of_audio(job, params, texts, features, states, skip):
    """LOA of all texts [U + P, K, D] and its mask [U + P, K] or None; the prompts' as given.

    The first `skip` are zeros, and each unconditional one where `texts.zero_loa` says so.
    """
    c, dtype, first = job.config, job.dtype, job.unconditional
    given = None if texts.loa is None else texts.loa.astype(dtype)
    if given is not None and skip == first:
        return jnp.concatenate([jnp.zeros((skip, *given.shape[1:]), dtype), given]), None
    inputs = lm_inputs(
        params["projection"],
        features,
        states[skip:],
        texts.text_mask[skip:],
        texts.positions[skip:],
        c.projection,
        dtype,
    )
    loa = generate_loa(params["gpt2"], inputs, c.gpt2, dtype)
    without, within = loa[: first - skip], loa[first - skip :] if given is None else given
    without = jnp.concatenate([jnp.zeros((skip, *loa.shape[1:]), loa.dtype), without])
    without = jnp.where(texts.zero_loa[:, None, None], 0, without)
    lengths = without.shape[1], within.shape[1]
    if lengths[0] == lengths[1]:
        return jnp.concatenate([without, within]), None
    # A given LOA may be longer or shorter than what GPT-2 says of the negatives.
    pads = [((0, 0), (0, max(lengths) - length), (0, 0)) for length in lengths]
    rows = [jnp.pad(x, pad) for x, pad in zip((without, within), pads)]
    kept = [
        jnp.broadcast_to(jnp.arange(max(lengths)) < length, x.shape[:2])
        for x, length in zip(rows, lengths)
    ]
    return jnp.concatenate(rows), jnp.concatenate(kept)


def denoiser(job: Job, params: dict, context: dict, guidance):
    """denoise(x, index) for the samplers: the network at one timestep, guided."""
    unet = UNet(job.config.unet, job.dtype)

    def denoise(x, index):
        time_bias = jax.tree.map(
            lambda rows: jax.lax.dynamic_slice_in_dim(rows, index, 1), context["time_bias"]
        )
        if "film_bias" in context:
            time_bias = jax.tree.map(jnp.add, time_bias, context["film_bias"])
        return unet.apply(
            {"params": params["unet"]},
            x,
            time_bias,
            context["kv"],
            context["masks"],
            method="denoise",
        )

    return cfg_denoise(denoise, guidance) if job.unconditional else denoise


def clip_noise(keys, index, shape) -> jax.Array:
    """Unit noise, each clip from its own key. keys: [B]; index 0 is the initial noise."""
    draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape[1:]))
    return draw(keys)


def render(job: Job, params: dict, latents) -> jax.Array:
    """latents: [B, T, F, C] -> waveforms [B, samples] fp32, clip by clip in small groups."""
    c, dtype = job.config, job.dtype

    def group(latents):
        mel = decode_latents(params["vae"], latents, c.vae, dtype)
        return vocode_mel(params["vocoder"], mel, c.vocoder, dtype)[:, : job.samples]

    size = backend.current().decoded_clips
    if latents.shape[0] <= size:
        return group(latents)
    return jax.lax.map(lambda z: group(z[None])[0], latents, batch_size=size)


def generate(job: Job, params: dict, texts: Texts, plan: SamplerSchedule, guidance, keys, latents):
    """All of it. latents: [B, T, F, C] noise -> (waveforms [B, samples], CLAP features [P, D])."""
    context, features = condition(job, params, texts, jnp.asarray(plan.timesteps))
    denoise = denoiser(job, params, context, guidance)

    def noise(index):
        return clip_noise(keys, index + 1, latents.shape)

    latents = sample(denoise, latents, plan, noise)
    return render(job, params, latents), features

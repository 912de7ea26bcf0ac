"""What all families share, as three programs: conditions, sampler, decoders.

`condition` runs once for a batch, `denoiser` is one evaluation of the U-Net inside a sampler,
`sample_latents` is the sampler, `render` turns latents into sound. Only `condition` is compiled
again for texts of another length. R rows of texts belong to B clips: with guidance 2 B, each clip's
negative text before its prompt, so that a pair stays on one device.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from audioldm2_jax import backend
from audioldm2_jax.diffusion.guidance import cfg_denoise, interleave
from audioldm2_jax.diffusion.samplers import SamplerSchedule, sample
from audioldm2_jax.encoders.clap import clap_text_features
from audioldm2_jax.encoders.latents import decode_latents, vocode_mel
from audioldm2_jax.models.kernels.attention import key_lengths
from audioldm2_jax.models.unet import UNet
from audioldm2_jax.pipelines.text import Texts
from audioldm2_jax.presets import ModelConfig


class Conditioning(NamedTuple):
    """What a family's U-Net is given of R texts.

    streams: the two contexts it attends to, [R, L, D] each, masks: [R, L] each (None: all is kept);
    film: [R, D] for its residual blocks; clap_features: [R, D]. None where a family has none.
    """

    streams: tuple
    masks: tuple
    film: jax.Array | None
    clap_features: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Program:
    """What is fixed when a program is compiled, besides the shapes of its arguments.

    encode_texts: the family's (config, dtype, params, texts) -> Conditioning.
    """

    config: ModelConfig
    dtype: Any
    # The configuration decides it; without it, the text of a program is the same everywhere.
    encode_texts: Callable[..., Conditioning] = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Clips:
    """The arrays of B clips. guidance: [B], None without; keys: [B]; latents: [B, T, F, C] unit
    noise. texts: None where the context is there already.
    """

    texts: Texts | None
    guidance: np.ndarray | jax.Array | None
    keys: jax.Array
    latents: jax.Array


jax.tree_util.register_dataclass(Clips, ["texts", "guidance", "keys", "latents"], [])


def clap_features(config: ModelConfig, dtype: Any, params: dict, texts: Texts) -> jax.Array:
    """CLAP's features of R texts, [R, D]; of the prompts, those that are given."""
    rows, mask, own = texts.clap, texts.clap_mask, texts.clap_features
    if own is None:
        return clap_text_features(params["clap"], rows, mask, config.clap, dtype)
    own = jnp.asarray(own)
    if not texts.guided:
        return own
    negatives = clap_text_features(params["clap"], rows[::2], mask[::2], config.clap, dtype)
    return interleave(negatives, own)


def condition(program: Program, params: dict, texts: Texts) -> tuple[dict, jax.Array | None]:
    """(the U-Net's context of all rows, the prompts' CLAP features [B, D] or None).

    The context's shapes are the same for texts of all lengths, or of few (`Backend.context_keys`).
    """
    conditioning = program.encode_texts(program.config, program.dtype, params, texts)
    features = conditioning.clap_features
    if texts.guided and features is not None:
        features = features[1::2]
    return unet_context(program, params, conditioning), features


def unet_context(program: Program, params: dict, conditioning: Conditioning) -> dict:
    """What `denoiser` is given of all rows: the U-Net's keys and values, and FiLM's biases."""
    unet, variables = UNet(program.config.unet, program.dtype), {"params": params["unet"]}
    keys = tuple(None if m is None else _context_keys(m.shape[1]) for m in conditioning.masks)
    context = {
        "kv": unet.apply(variables, *conditioning.streams, keys=keys, method="kv"),
        # Texts are padded at their ends.
        "masks": tuple(key_lengths(m) for m in conditioning.masks),
    }
    if conditioning.film is not None:
        context["film_bias"] = unet.apply(variables, conditioning.film, method="film_bias")
    return context


def _context_keys(tokens: int) -> int:
    """How many keys the U-Net is given of texts padded to so many tokens."""
    lengths = backend.current().context_keys
    return next((n for n in lengths if n >= tokens), -(-tokens // lengths[0]) * lengths[0])


def time_bias(program: Program, params: dict, timesteps) -> tuple:
    """What the timesteps [E] add to each residual block of the U-Net: a tree of [E, C]."""
    unet = UNet(program.config.unet, program.dtype)
    return unet.apply({"params": params["unet"]}, timesteps, method="time_bias")


def denoiser(program: Program, params: dict, context: dict, biases, guidance=None) -> Callable:
    """denoise(x, index) for the samplers: the U-Net at the timestep of row `index` of
    `biases`, which are `time_bias`'s.

    guidance: [B], each clip's scale; None without guidance.
    """
    unet = UNet(program.config.unet, program.dtype)

    def denoise(x, index):
        bias = jax.tree.map(lambda rows: jax.lax.dynamic_slice_in_dim(rows, index, 1), biases)
        if "film_bias" in context:
            bias = jax.tree.map(jnp.add, bias, context["film_bias"])
        return unet.apply(
            {"params": params["unet"]}, x, bias, context["kv"], context["masks"], method="denoise"
        )

    return denoise if guidance is None else cfg_denoise(denoise, guidance)


def clip_noise(keys, index, shape) -> jax.Array:
    """Unit noise, each clip from its own key. keys: [B]; index 0 is the initial noise."""
    draw = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, index), shape[1:]))
    return draw(keys)


def render(program: Program, params: dict, latents) -> jax.Array:
    """latents: [B, T, F, C] -> waveforms [B, samples] fp32, few clips at once."""
    c, dtype = program.config, program.dtype

    def decode(latents):
        mel = decode_latents(params["vae"], latents, c.vae, dtype)
        return vocode_mel(params["vocoder"], mel, c.vocoder, dtype)

    size = backend.current().decoded_clips
    if latents.shape[0] <= size:
        return decode(latents)
    return jax.lax.map(lambda z: decode(z[None])[0], latents, batch_size=size)


def sample_latents(
    program: Program,
    params: dict,
    context: dict,
    clips: Clips,
    schedule: SamplerSchedule,
    count,
) -> jax.Array:
    """The sampler's loop: latents [B, T, F, C]. clips: without texts.

    schedule, count: of `pad_schedule`, so that one program serves all solvers and numbers of steps.
    """
    biases = time_bias(program, params, jnp.asarray(schedule.timesteps))
    denoise = denoiser(program, params, context, biases, clips.guidance)

    def noise(index):
        return clip_noise(clips.keys, index + 1, clips.latents.shape)

    return sample(denoise, clips.latents, schedule, noise, count=count)

"""What the frozen encoders make of a batch, as pure functions: in a training step or beforehand.

The front ends are those of `features` and `audio`, which inference uses too.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax import audio, features
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.audiomae import AudioMAE, pool_loa
from audioldm2_jax.models.clap import CLAP
from audioldm2_jax.models.t5 import T5Encoder
from audioldm2_jax.models.vae import VAE
from audioldm2_jax.presets import ModelConfig

FP32 = jnp.float32
# The tokens of "": T5's end symbol; RoBERTa's start and end.
T5_EMPTY, CLAP_EMPTY = (1,), (0, 2)


def check(config: ModelConfig, seconds: float, poolings: tuple[int, ...]) -> None:
    """Raises InputError if the VAE takes no clips of that length, or no such LOA can be made."""
    front, factor = features.mel_config(config.vocoder), config.vae.factor
    frames = int(seconds * front.sample_rate) // front.hop
    if frames % factor or not frames:
        step = factor * front.hop / front.sample_rate
        near = max(1, round(seconds / step)) * step
        raise InputError(f"{seconds:g} s: the VAE takes multiples of {step:g} s, such as {near:g}")
    mae = config.audiomae
    if poolings and mae is None:
        raise InputError("the checkpoint holds no AudioMAE, which makes the LOA: leave out --loa")
    if poolings and config.vocoder.sample_rate != 16000:
        raise InputError("AudioMAE hears 16 kHz, the model another rate: leave out --loa")
    for pool in poolings:
        if (mae.frames // mae.patch) % pool or (mae.bins // mae.patch) % pool:
            raise InputError(f"--loa {pool}: the grid of patches cannot be pooled {pool} x {pool}")


def encode_posterior(params: dict, waveform, config: ModelConfig, dtype: Any = FP32):
    """waveform: [B, samples] -> the VAE's (mean, log variance) [B, T, F, C], unscaled."""
    mel = features.log_mel(waveform, features.mel_config(config.vocoder))
    return VAE(config.vae, dtype).apply({"params": params["vae"]}, mel, method="encode")


def encode_clap_audio(params: dict, waveform_48k, config: ModelConfig, dtype: Any = FP32):
    """waveform_48k: [B, samples] -> CLAP's features [B, D] of the first 10 s, unit length."""
    front = config.clap.mel
    mel = audio.clap_log_mel(audio.fit_clip(waveform_48k, front), front)
    longer = None
    if front.fusion:
        mel, longer = jnp.stack([mel] * 4, 1), jnp.zeros(mel.shape[0], bool)
    variables = {"params": params["clap"]}
    return CLAP(config.clap, dtype).apply(variables, mel, longer, method="audio_features")


def encode_loa(
    params: dict,
    waveform,
    config: ModelConfig,
    poolings: tuple[int, ...] = (8,),
    dtype: Any = FP32,
) -> dict[int, jax.Array]:
    """waveform: [B, samples] at 16 kHz -> AudioMAE's features by pooling, each [B, L, D]."""
    c = config.audiomae
    mae = AudioMAE(c, dtype)
    bank = features.fbank(waveform, c.frames, c.bins)
    tokens = mae.apply({"params": params["audiomae"]}, bank)
    return {pool: pool_loa(tokens, c, pool, pool) for pool in poolings}


def encode_audio(
    params: dict, batch: dict, config: ModelConfig, poolings: tuple[int, ...], dtype: Any = FP32
) -> dict[str, jax.Array]:
    """All of a batch's waveforms, under the names that encoded corpora have, in fp32."""
    mean, logvar = encode_posterior(params, batch["waveform"], config, dtype)
    found = {"mean": mean, "logvar": logvar}
    if config.has_audio_tower:
        found["clap_audio"] = encode_clap_audio(params, batch["waveform_48k"], config, dtype)
    if poolings:
        loa = encode_loa(params, batch["waveform"], config, poolings, dtype)
        found |= {f"loa_{pool}": vectors for pool, vectors in loa.items()}
    return jax.tree.map(lambda x: x.astype(FP32), found)


def encode_clap_text(params: dict, batch: dict, config: ModelConfig, dtype: Any = FP32):
    """clap_tokens, clap_mask [B, L] -> CLAP's features [B, D], fp32."""
    tokens = batch["clap_tokens"], batch["clap_mask"]
    variables = {"params": params["clap"]}
    return CLAP(config.clap, dtype).apply(variables, *tokens, method="text_features")


def encode_t5(params: dict, batch: dict, config: ModelConfig, dtype: Any = FP32):
    """t5_tokens, t5_mask [B, L] -> T5's states [B, L, D], fp32."""
    tokens = batch["t5_tokens"], batch["t5_mask"]
    return T5Encoder(config.t5, dtype).apply({"params": params["t5"]}, *tokens).astype(FP32)


def encoder_of_nothing(config: ModelConfig) -> str:
    """The part that reads "" for the unconditional: CLAP where the U-Net takes its vector, or T5.

    Models of speech have neither ("").
    """
    return "clap" if config.unet.film else "t5" if config.t5 else ""


def encode_nothing(params: dict, config: ModelConfig, dtype: Any = FP32):
    """What the U-Net's text condition is for "": CLAP's vector or T5's state, [1, D] fp32."""
    part = encoder_of_nothing(config)
    tokens = jnp.asarray([CLAP_EMPTY if part == "clap" else T5_EMPTY], jnp.int32)
    batch = {f"{part}_tokens": tokens, f"{part}_mask": jnp.ones(tokens.shape, bool)}
    if part == "clap":
        return encode_clap_text(params, batch, config, dtype).astype(FP32)
    return encode_t5(params, batch, config, dtype)[0]


def encode_texts(
    params: dict, batch: dict, config: ModelConfig, dtype: Any = FP32
) -> dict[str, jax.Array]:
    """clap_text [B, D] and t5 [B, L, D], as far as the model reads them, fp32."""
    found = {}
    if config.clap:
        found["clap_text"] = encode_clap_text(params, batch, config, dtype)
    if config.t5:
        found["t5"] = encode_t5(params, batch, config, dtype)
    return found

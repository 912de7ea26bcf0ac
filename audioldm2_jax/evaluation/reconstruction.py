"""What the decoders alone do to real clips, and the LOA that AudioMAE reads from them."""

from __future__ import annotations

import jax
import numpy as np

from audioldm2_jax.encoders.latents import decode_latents, encode_waveform, vocode_mel
from audioldm2_jax.encoders.loa import audiomae_loa
from audioldm2_jax.presets import AudioMAEConfig, ModelConfig


def full_scale(waveforms: np.ndarray) -> np.ndarray:
    """Cut at full scale, as `--loudness raw` writes clips: metrics are of these."""
    return np.clip(waveforms, -1.0, 1.0)


def reconstruct(
    params: dict, waveforms: np.ndarray, config: ModelConfig, *, batch: int = 20
) -> np.ndarray:
    """Clips through the VAE (the posterior's mean) and the vocoder and back: [N, samples].

    waveforms: [N, samples] at the model's rate; params: the model's, with "vae" and "vocoder".
    """

    @jax.jit
    def run(params, waveforms):
        mean, _ = encode_waveform(params["vae"], waveforms, config)
        mel = decode_latents(params["vae"], mean * config.vae.scale, config.vae)
        return vocode_mel(params["vocoder"], mel, config.vocoder)

    parts = {name: params[name] for name in ("vae", "vocoder")}
    batches = [run(parts, waveforms[i : i + batch]) for i in range(0, len(waveforms), batch)]
    return full_scale(np.concatenate(batches)[:, : waveforms.shape[1]])


def ground_truth_loa(
    params: dict, waveforms: np.ndarray, config: AudioMAEConfig, *, pooling: int, batch: int = 20
) -> np.ndarray:
    """AudioMAE's LOA of clips: [N, K, D]. waveforms: [N, samples] at 16 kHz; params: AudioMAE's."""
    run = jax.jit(lambda params, x: audiomae_loa(params, x, config, (pooling,))[pooling])
    return np.concatenate(
        [run(params, waveforms[i : i + batch]) for i in range(0, len(waveforms), batch)]
    )

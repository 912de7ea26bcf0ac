"""What a clip's record says: all it takes to generate the clip again."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import flax
import jax
import jax.numpy as jnp

from audioldm2_jax.pipelines.request import Request
from audioldm2_jax.version import __version__

if TYPE_CHECKING:
    from audioldm2_jax.pipelines.text_to_audio import Pipeline


def describe(pipe: Pipeline, request: Request, injected: Sequence[str] = ()) -> dict:
    """The metadata of a request's clips.

    injected: of latents, loa and clap_features, those that were given with it.
    """
    clips, duration, sampling = request.clips, request.duration, request.sampling
    first = clips[0]
    transcriptions = [clip.transcription for clip in clips]
    return {
        "model": pipe.source,
        "convention": dataclasses.asdict(pipe.convention),
        "heads": list(pipe.config.unet.heads),
        "dtype": jnp.dtype(pipe.dtype).name,
        "quantize": pipe.quantize,
        **machine(),
        "prompts": [clip.prompt for clip in clips],
        "transcriptions": None if transcriptions[0] is None else transcriptions,
        "negative_prompts": _negatives([clip.negative_prompt for clip in clips]),
        "seconds": duration.seconds,
        "bucket_seconds": duration.bucket,
        "latent_frames": duration.frames,
        "guidance": first.guidance,
        "candidates": first.candidates,
        "seed": first.seed,
        "first_clip": first.clip,
        "steps": sampling.steps,
        "sampler": sampling.sampler,
        "eta": sampling.eta,
        "latents_injected": "latents" in injected,
        "loa_injected": "loa" in injected,
        "clap_features_injected": "clap_features" in injected,
    }


def machine() -> dict:
    """The device and the versions that computed a clip."""
    return {
        "device": jax.devices()[0].device_kind,
        "versions": {
            "audioldm2_jax": __version__,
            "jax": jax.__version__,
            "flax": flax.__version__,
            "python": platform.python_version(),
        },
    }


def _negatives(negatives: list[str | None]) -> list[str]:
    """None, one that all clips share, or one for each clip."""
    if negatives[0] is None:
        return []
    return negatives[:1] if len(set(negatives)) == 1 else negatives

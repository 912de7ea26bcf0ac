"""What AudioLM needs in memory beside its weights, from shapes alone."""

from __future__ import annotations

from audioldm2_jax.pipelines.audiolm_request import Request
from audioldm2_jax.pipelines.runner import check_fits
from audioldm2_jax.presets.audiolm import AudioLMConfig, Clock


def needed_memory(config: AudioLMConfig, request: Request, dtype) -> int:
    """An estimate of the bytes of the largest stage: caches, prefill and waveforms."""
    return 0


def check_memory(config: AudioLMConfig, request: Request, dtype) -> None:
    """Raises InputError if a request does not fit beside the weights."""
    seconds = float(request.periods * Clock.of(config).period)
    needed = needed_memory(config, request, dtype)
    check_fits(needed, f"{request.clips} clips of {seconds:g} s")

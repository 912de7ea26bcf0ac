"""What AudioLM takes in memory beside its weights, an estimate from its configuration."""

from __future__ import annotations

import jax.numpy as jnp

from audioldm2_jax import backend
from audioldm2_jax.decoding.generate import bucket
from audioldm2_jax.decoding.stages import Options
from audioldm2_jax.pipelines.audiolm_request import Request
from audioldm2_jax.pipelines.runner import check_fits
from audioldm2_jax.presets.audiolm import AudioLMConfig, Clock
from audioldm2_jax.presets.language import TokenLMConfig


def stages_bytes(config: AudioLMConfig, request: Request, dtype) -> dict[str, int]:
    """{stage: bytes beside all weights}, the codec's decoder among them."""
    clock, lengths = Clock.of(config), config.sequences
    known = clock.whole(request.recordings[0].seconds) if request.recordings else 0
    if request.mode != "continuation":
        known = 0
    context = min(max(known, request.periods), clock.whole(lengths.prompt))
    new = min(request.periods, clock.whole(lengths.piece) - min(known, context))
    frames, semantic = new * clock.frames, (context + new) * clock.tokens
    coarse, fine, rows = config.coarse_lm, config.fine_lm, request.clips
    prompt = semantic + context * clock.frames * coarse.levels
    result = {
        "semantic": _decoding(config.semantic_lm, rows, context * clock.tokens, semantic, dtype),
        "coarse": _decoding(coarse, rows, prompt, frames * coarse.levels, dtype),
    }
    if fine is not None:
        chunk = min(fine.chunk, frames)
        rows = min(Options().rows, rows * -(-frames // chunk))
        result["fine"] = _decoding(fine, rows, chunk * fine.given, chunk * fine.predicted, dtype)
    return result | {"decoding": _codec_bytes(config, request)}


def _decoding(lm: TokenLMConfig, rows: int, prompt: int, new: int, dtype) -> int:
    """Bytes of a stage: the cache as it was and as it becomes, and the pass over the prompt."""
    c, size = lm.decoder, jnp.dtype(dtype).itemsize
    prompt = bucket(prompt + 2)
    cache = 2 * c.depth * c.inner * (prompt + bucket(new)) * size
    scores = 2 * 4 * c.heads * prompt**2
    return rows * (2 * cache + scores + 3 * size * prompt * c.hidden)


def _codec_bytes(config: AudioLMConfig, request: Request) -> int:
    """The decoder's activations at its last layers, where they are largest, in fp32."""
    codec = config.codec
    width = getattr(codec, "decoder_width", 0) >> len(getattr(codec, "strides", ()))
    clips = min(request.clips, backend.current().decoded_clips)
    return 4 * 4 * request.samples * max(width, 64) * clips


def check_memory(config: AudioLMConfig, request: Request, dtype) -> int:
    """Bytes that a request takes beside the weights. Raises InputError if they are not free."""
    needed = max(stages_bytes(config, request, dtype).values())
    seconds = request.samples / config.codec.sample_rate
    check_fits(needed, f"{request.clips} clip{'s' * (request.clips > 1)} of {seconds:g} s")
    return needed

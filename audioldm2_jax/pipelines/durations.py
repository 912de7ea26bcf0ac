"""Durations in seconds to latent frames, exact or rounded up to a bucket."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.values import number
from audioldm2_jax.presets import Convention, ModelConfig

_MOST_SECONDS = 86_400  # a day; what memory holds is checked by itself


@dataclass(frozen=True)
class Duration:
    """A clip's length.

    seconds: as asked; frames: latent frames that are sampled; samples: where the waveform ends, as
    the end of a slice (None: all is kept; negative: so many are cut off); bucket: seconds that it
    was rounded up to, or None.
    """

    seconds: float
    frames: int
    samples: int | None
    bucket: float | None = None


def exact_duration(seconds: float | None, config: ModelConfig, convention: Convention) -> Duration:
    """How many latent frames a duration takes. None is the length of training, 10.24 s.

    Raises InputError for a duration that is no positive number, shorter than one latent frame or
    longer than a day.
    """
    vocoder, factor = config.vocoder, config.vae.factor
    frame = vocoder.hop / vocoder.sample_rate
    if seconds is None:
        seconds, frames = config.unet.sample_size * factor * frame, config.unet.sample_size
    else:
        seconds = number("seconds", seconds)
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(f"seconds is {seconds}: it must be a positive number")
        if seconds > _MOST_SECONDS:
            raise InputError(f"seconds is {seconds:g}: the longest clip is {_MOST_SECONDS} s")
        if seconds < factor * frame:
            raise InputError(f"seconds is {seconds}: the shortest clip is {factor * frame:g} s")
        if convention.whole_grid:
            # The authors' 25.6 latent frames to a second, where 25 make one: 10 s is 10.24 s.
            frames = max(int(seconds * 1.024 / (frame * factor) + 1e-6), 1)
        else:
            frames = -(-int(seconds / frame) // factor)
    samples = None if convention.whole_grid else int(seconds * vocoder.sample_rate)
    return Duration(float(seconds), frames, samples)


def bucketed_duration(
    seconds: float | None,
    config: ModelConfig,
    convention: Convention,
    buckets: Sequence[float | None] | None,
) -> Duration:
    """The duration in the shortest of the buckets (seconds) that holds it; None: the exact one.

    A bucket of None is the length of training. The waveform is to be cut to the samples that the
    exact duration would have. Raises InputError for a clip longer than the longest bucket.
    """
    duration = exact_duration(seconds, config, convention)
    if buckets is None:
        return duration
    exact = [exact_duration(bucket, config, convention) for bucket in buckets]
    lengths = sorted((length.frames, length.seconds) for length in exact)
    fitting = [length for length in lengths if length[0] >= duration.frames]
    if not fitting:
        longest = lengths[-1][1] if lengths else 0.0
        raise InputError(f"seconds is {duration.seconds:g}: the longest bucket is {longest:g} s")
    frames, bucket = fitting[0]
    samples, hop = duration.samples, config.vae.factor * config.vocoder.hop
    if samples is None and frames > duration.frames:
        samples = -(frames - duration.frames) * hop
    elif samples is not None:
        # The exact clip ends with its last latent frame.
        samples = min(samples, duration.frames * hop)
    return Duration(duration.seconds, frames, samples, bucket)

"""What a user asks of AudioLM, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.pipelines.recordings import Recording
from audioldm2_jax.pipelines.request import draw_seed
from audioldm2_jax.pipelines.values import check_count, number
from audioldm2_jax.presets.audiolm import AudioLMConfig, Clock, SequenceConfig

_MOST_SECONDS = 86_400  # a day; what memory holds is checked by itself
STAGES = ("semantic", "coarse", "fine")


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. temperature: of the three stages. top_k, top_p: None keeps all."""

    temperature: tuple[float, float, float]
    top_k: int | None
    top_p: float | None


@dataclass(frozen=True)
class Request:
    """A checked request of `candidates` clips for each of P recordings of one length.

    mode: what becomes of them. recordings: none for clips without a prompt, whose P is 1. periods:
    of the model's clock that are added, or made. samples: of a clip, its prompt included. seed,
    first_clip: clip i draws from the seed and first_clip + i.
    """

    mode: str
    recordings: tuple[Recording, ...]
    periods: int
    samples: int
    candidates: int
    seed: int
    first_clip: int
    sampling: Sampling

    @property
    def prompts(self) -> int:
        """P."""
        return max(1, len(self.recordings))

    @property
    def clips(self) -> int:
        """Clips that are made, candidates counted."""
        return self.prompts * self.candidates


def check_request(
    config: AudioLMConfig,
    mode: str,
    recordings: Sequence[Recording],
    *,
    seconds: float | None = None,
    candidates: int = 1,
    temperature=None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = 0,
    first_clip: int = 0,
) -> Request:
    """mode: a key of MODES; seconds: None for modes of known length; others as of `AudioLM`.

    Raises InputError for the first value that cannot be used.
    """
    clock, rate = Clock.of(config), config.codec.sample_rate
    periods = check_lengths(clock, recordings)
    samples = clock.samples(periods, rate)
    if seconds is not None:
        seconds = number("seconds", seconds)
        if not 0 < seconds <= _MOST_SECONDS:
            raise InputError(
                f"seconds is {seconds:g}: it must be above 0 and at most {_MOST_SECONDS}"
            )
        periods, samples = clock.covering(seconds), samples + round(seconds * rate)
    return Request(
        mode,
        tuple(recordings),
        periods,
        samples,
        check_count("candidates", candidates, 1),
        draw_seed(seed),
        check_count("first_clip", first_clip, 0),
        check_sampling(config.sequences, temperature, top_k, top_p),
    )


def check_lengths(clock: Clock, recordings: Sequence[Recording]) -> int:
    """The whole periods of recordings, which must be one number; 0 without recordings.

    Raises InputError for recordings of several lengths, or shorter than a period.
    """
    period = float(clock.period)
    for recording in recordings:
        if not clock.whole(recording.seconds):
            raise InputError(
                f"{recording.name}: {1000 * recording.seconds:.3g} ms long; one frame of the model "
                f"is {1000 * period:.3g} ms"
            )
    lengths = sorted({clock.whole(recording.seconds) for recording in recordings})
    if len(lengths) > 1:
        raise InputError(
            f"recordings of {lengths[0] * period:g} and of {lengths[-1] * period:g} s: those of "
            "one call are of one length"
        )
    return lengths[0] if lengths else 0


def check_sampling(sequences: SequenceConfig, temperature, top_k, top_p) -> Sampling:
    """None is the model's own. temperature: one, or one for each stage. top_k: 0 keeps all.

    Raises InputError.
    """
    temperature = sequences.temperature if temperature is None else temperature
    values = temperature if np.ndim(temperature) else (temperature,) * len(STAGES)
    if len(values) != len(STAGES):
        raise InputError(
            f"temperature has {len(values)} values: give one, or one each for {' '.join(STAGES)}"
        )
    values = tuple(number("temperature", value) for value in values)
    for value in values:
        if not 0 <= value <= 100:
            raise InputError(f"temperature is {value:g}: it must be from 0 (greedy) to 100")
    top_k = sequences.top_k if top_k is None else top_k
    top_p = sequences.top_p if top_p is None else number("top_p", top_p)
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p is {top_p:g}: it must be above 0 and at most 1")
    # 0 is no limit, as of MusicGen.
    top_k = None if top_k is None else check_count("top_k", top_k, 0) or None
    return Sampling(values, top_k, top_p)

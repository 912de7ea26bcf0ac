"""Words by PocketSphinx (CMU's recogniser, US English), and error rates against the transcript.

A recogniser of the 2000s: its error rates are far above those of today's networks and compare only
with each other.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel, sounds
from audioldm2_jax.evaluation.metrics.speech import character_errors, word_errors

WHEEL = Wheel(
    "pocketsphinx",
    "pocketsphinx",
    "5.1.1",
    "BSD-2-Clause",
    tuple(
        f"model/en-us/{file}"
        for file in (
            "en-us/mdef", "en-us/means", "en-us/variances", "en-us/sendump",
            "en-us/transition_matrices", "en-us/feat.params", "en-us/noisedict",
            "cmudict-en-us.dict", "en-us.lm.bin",
        )
    ),
)  # fmt: skip
RATE = 16000


def transcripts(waveforms: Iterable, sample_rate: int) -> list[str]:
    """The words in each clip [samples] of one rate in Hz; "" of silence.

    Raises InputError if the package is missing or a clip is not finite.
    """
    return [_transcript(sound) for sound in sounds(waveforms, sample_rate)]


def _transcript(sound: Sound) -> str:
    if sound.is_silent:
        return ""
    decoder = _decoder()
    decoder.reinit_feat()  # else the front end adapts to the clips before
    samples = np.round(sound.at(RATE) * 32767).astype("<i2")
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


@functools.cache
def _decoder():
    if line := WHEEL.missing():
        raise InputError(line)
    import pocketsphinx

    return pocketsphinx.Decoder(samprate=RATE, loglevel="FATAL")


def _score(sound: Sound, reference: Sound | None) -> dict[str, tuple[float, float]]:
    """Error rates weighted by the transcript's length, so that their mean is the corpus' rate."""
    texts = [sound.transcript], [_transcript(sound)]
    return {"WER": _rate(*word_errors(*texts)), "CER": _rate(*character_errors(*texts))}


def _rate(errors: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """(rate, weight) of one clip; not judged without a transcript."""
    return (float(errors[0] / lengths[0]) if lengths[0] else np.nan), float(lengths[0])


JUDGE = Judge(
    name="words",
    metrics=("WER", "CER"),
    wheel=WHEEL,
    rate=RATE,
    score=_score,
    needs="transcript",
)

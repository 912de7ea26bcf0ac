"""Speech against a reference of the same words: error rates, length, rhythm and spectrum.

Error rates are of a recogniser's transcripts; the others are signal processing alone, of clips
[samples] of one rate, spoken once over silence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.attributes import envelope

_STEP = 0.02  # seconds between values of an envelope
_FLOOR = 1e-2  # of the loudest: what is less is silence


def word_error_rate(references: Sequence[str], transcripts: Sequence[str]) -> float:
    """Edits of all clips over words of all references, both normalised: WER.

    It may exceed 1. Raises InputError for unequal numbers of texts and for references without a
    word.
    """
    return _rate(*word_errors(references, transcripts), "words")


def character_error_rate(references: Sequence[str], transcripts: Sequence[str]) -> float:
    """As `word_error_rate` by characters, with the spaces between words: CER."""
    return _rate(*character_errors(references, transcripts), "characters")


def word_errors(references, transcripts) -> tuple[np.ndarray, np.ndarray]:
    """(edits [N], words of the references [N]) of each clip, both texts normalised."""
    return _errors(references, transcripts, str.split)


def character_errors(references, transcripts) -> tuple[np.ndarray, np.ndarray]:
    """(edits [N], characters of the references [N]) of each clip, both texts normalised."""
    return _errors(references, transcripts, list)


def normalise(text: str) -> str:
    """English text as error rates compare it: Whisper's rules (arXiv 2212.04356, appendix C).

    Lower case without punctuation, fillers and brackets; contractions in full, numbers as digits.
    British spellings stay: Whisper's table of them is not part of transformers. Symbols that stand
    alone are left out.
    """
    words = _normaliser()(text).split()
    return " ".join(word for word in words if any(map(str.isalnum, word)))


@functools.cache
def _normaliser() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return EnglishTextNormalizer({})


def edits(reference: Sequence, transcript: Sequence) -> int:
    """The least number of insertions, deletions and substitutions (Levenshtein 1966)."""
    numbers: dict = {}
    x, y = (
        np.array([numbers.setdefault(token, len(numbers)) for token in tokens], int)
        for tokens in (reference, transcript)
    )
    columns = np.arange(len(y) + 1)
    row = columns
    for i, token in enumerate(x, 1):
        without_insertions = np.minimum(row[1:] + 1, row[:-1] + (y != token))
        best = np.concatenate([[i], without_insertions]) - columns
        # An insertion costs 1 a column: the best start among all columns to the left.
        row = np.minimum.accumulate(best) + columns
    return int(row[-1])


def _errors(references, transcripts, tokens: Callable) -> tuple[np.ndarray, np.ndarray]:
    if len(references) != len(transcripts):
        raise InputError(f"{len(transcripts)} transcripts of {len(references)} clips")
    pairs = [
        (tokens(normalise(reference)), tokens(normalise(transcript)))
        for reference, transcript in zip(references, transcripts)
    ]
    return np.array([edits(*pair) for pair in pairs]), np.array([len(x) for x, _ in pairs])


def _rate(errors: np.ndarray, lengths: np.ndarray, unit: str) -> float:
    if not lengths.sum():
        raise InputError(f"references without {unit}: an error rate needs at least 1")
    return float(errors.sum() / lengths.sum())


def span(wave: np.ndarray, sample_rate: int) -> tuple[float, float]:
    """(onset, end) in seconds of where the envelope exceeds a hundredth of its peak.

    (nan, nan) for silence, and for less than 40 ms.
    """
    rms = envelope(wave, int(_STEP * sample_rate))
    if not rms.any():
        return float("nan"), float("nan")
    voiced = np.flatnonzero(rms > _FLOOR * rms.max())
    return voiced[0] * _STEP, (voiced[-1] + 2) * _STEP


def rhythm(wave: np.ndarray, reference: np.ndarray, sample_rate: int) -> float:
    """Correlation of the envelopes in dB over the reference's length, both from their onsets on.

    1 for the same rhythm, about 0 for unrelated ones; nan if either is silent.
    """
    curves, lengths = [], []
    for clip in (wave, reference):
        onset, end = span(clip, sample_rate)
        if np.isnan(onset):
            return float("nan")
        rms = envelope(clip, int(_STEP * sample_rate))
        level = 20 * np.log10(np.maximum(rms / rms.max(), _FLOOR))
        curves.append(level[round(onset / _STEP) :])
        lengths.append(round((end - onset) / _STEP) - 1)
    length, quiet = lengths[1], 20 * np.log10(_FLOOR)
    x, y = (c[:length] for c in curves)
    x = np.pad(x, (0, length - len(x)), constant_values=quiet)
    if not (x.std() and y.std()):
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def mel_distance(mel: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of log-mels [T, F] per bin along the path that aligns them best (DTW)."""
    import librosa

    cost, path = librosa.sequence.dtw(mel.T, reference.T, metric="cityblock")
    return float(cost[-1, -1] / len(path) / mel.shape[1])


def compare_speech(waves, references, sample_rate: int, mel: Callable) -> dict[str, float]:
    """Means over pairs of clips [N, samples]. mel: [N, samples] -> log mels [N, T, F].

    A silent clip counts as of length 0 in the correlation of lengths and as of unrelated rhythm.
    """
    spans = np.array([[span(w, sample_rate) for w in clips] for clips in (waves, references)])
    lengths = spans[..., 1] - spans[..., 0]
    rhythms = [rhythm(a, b, sample_rate) for a, b in zip(waves, references)]
    mels = zip(mel(waves), mel(references))
    return {
        "seconds off": float(np.nanmean(np.abs(lengths[0] - lengths[1]))),
        "correlation of lengths": float(np.corrcoef(np.nan_to_num(lengths))[0, 1]),
        "correlation of envelopes": float(np.mean(np.nan_to_num(rhythms))),
        "mel distance": float(np.mean([mel_distance(a, b) for a, b in mels])),
    }

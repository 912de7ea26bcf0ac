"""Notes from Basic Pitch's activations (arXiv 2203.09893, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

LOWEST = 21  # MIDI number of the first of the 88 pitches
_ONSET, _NOTE = 0.5, 0.3  # the probabilities from which on an onset, a note is there
_PATIENCE = 11  # frames below _NOTE in a row that end a note
_SHORTEST = 11  # a note has more frames


class Note(NamedTuple):
    """onset, offset: seconds. pitch: MIDI number. amplitude: mean probability, 0 to 1."""

    onset: float
    offset: float
    pitch: int
    amplitude: float


class Span(NamedTuple):
    """A note in frames, `start` to `stop` without the last."""

    start: int
    stop: int
    pitch: int
    amplitude: float


def track(notes: np.ndarray, onsets: np.ndarray) -> list[Span]:
    """Notes of probabilities [T, 88] that a note sounds, and that one begins.

    First each onset, the last one first, starts a note; then what is left of the notes' energy is
    traced both ways from its maxima.
    """
    if not len(notes):
        return []
    energy = np.array(notes, np.float64)
    spans = [*_from_onsets(energy, onset_strength(notes, onsets)), *_from_maxima(energy)]
    return [
        Span(start, stop, key + LOWEST, float(notes[start:stop, key].mean()))
        for start, stop, key in spans
    ]


def onset_strength(notes: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """The larger of the onsets and of the notes' rise over one and two frames, scaled alike."""
    rise = np.zeros(notes.shape)
    if len(notes) > 2:
        rise[2:] = np.minimum(notes[2:] - notes[1:-1], notes[2:] - notes[:-2]).clip(0)
    if rise.max() > 0:
        rise = onsets.max() * rise / rise.max()
    return np.maximum(onsets, rise)


def _from_onsets(energy: np.ndarray, strength: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(start, stop, key) of notes from peaks of the onsets on; takes them from the energy."""
    peaks = np.zeros(strength.shape, bool)
    middle = strength[1:-1]
    peaks[1:-1] = (middle > strength[:-2]) & (middle > strength[2:]) & (middle >= _ONSET)
    for start, key in np.argwhere(peaks)[::-1]:
        frames, quiet = _walk(energy[start + 1 : -1, key])
        stop = start + 1 + frames - quiet
        if stop - start > _SHORTEST:
            _clear(energy, start, stop, key)
            yield int(start), int(stop), int(key)


def _from_maxima(energy: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(start, stop, key) of notes around maxima of what energy is left; takes it away."""
    while energy.max() > _NOTE:
        middle, key = np.unravel_index(np.argmax(energy), energy.shape)
        after, quiet_after = _walk(energy[middle + 1 : -1, key])
        before, quiet_before = _walk(energy[1:middle, key][::-1])
        energy[middle, key] = 0
        _clear(energy, middle + 1, middle + 1 + after, key)
        _clear(energy, middle - before, middle, key)
        start, stop = middle - before + quiet_before, middle + after - quiet_after
        if stop - start > _SHORTEST:
            yield int(start), int(stop), int(key)


def _walk(energy: np.ndarray) -> tuple[int, int]:
    """(frames until a note has ended, how many of these at the end are below _NOTE)."""
    quiet = 0
    for frame, value in enumerate(energy):
        quiet = quiet + 1 if value < _NOTE else 0
        if quiet == _PATIENCE:
            return frame + 1, quiet
    return len(energy), quiet


def _clear(energy: np.ndarray, start: int, stop: int, key: int) -> None:
    """Removes a note with its neighbouring pitches."""
    energy[start:stop, max(key - 1, 0) : key + 2] = 0

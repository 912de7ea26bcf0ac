"""Notes by Basic Pitch (arXiv 2203.09893): polyphonic transcription, and the F1 of notes.

The wheel `basic-pitch` asks for TensorFlow, so it is read, not imported: its ONNX network runs in
onnxruntime, and `note_tracking` turns activations into notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from audioldm2_jax.evaluation.judges import onnx
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel, sounds
from audioldm2_jax.evaluation.judges.note_tracking import Note, track

_FILE = "saved_models/icassp_2022/nmp.onnx"
WHEEL = Wheel("basic-pitch", "basic_pitch", "0.4.0", "Apache-2.0", (_FILE,), alone=True)
RATE, HOP = 22050, 256
_WINDOW, _OVERLAP = 43844, 30  # samples of the network's input; frames that windows share
_STEP = _WINDOW - _OVERLAP * HOP
_FRAMES = 172 - _OVERLAP  # of a window, without half of the overlap at each end
ONSET_TOLERANCE, PITCH_TOLERANCE = 0.05, 0.5  # seconds, semitones


def transcribe(waveforms: Iterable, sample_rate: int) -> list[list[Note]]:
    """The notes of clips [samples] of one rate in Hz, by onset; none in silence.

    Raises InputError if a package is missing or a clip is not finite.
    """
    return [_notes(sound) for sound in sounds(waveforms, sample_rate)]


def note_f1(reference: Sequence[Note], notes: Sequence[Note]) -> float:
    """F1 of notes that agree in onset (50 ms) and pitch (half a semitone), each matched once.

    As mir_eval's without offsets. 0 if one of the lists is empty; nan if the reference is.
    """
    if not reference:
        return float("nan")
    if not notes:
        return 0.0
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    def differences(field):
        theirs, ours = ([getattr(n, field) for n in side] for side in (reference, notes))
        return np.abs(np.subtract.outer(theirs, ours))

    # Four decimals as in mir_eval: an onset off by 50 ms exactly agrees.
    near = differences("onset").round(4) <= ONSET_TOLERANCE
    near &= differences("pitch") <= PITCH_TOLERANCE
    matches = (maximum_bipartite_matching(csr_array(near), perm_type="column") >= 0).sum()
    return float(2 * matches / (len(reference) + len(notes)))


def activations(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(notes, onsets): the network's probabilities, [T, 88] each, of [samples] at RATE."""
    network, parts = onnx.session(WHEEL.path(_FILE)), []
    padded = np.pad(waveform, (_OVERLAP // 2 * HOP, _WINDOW))
    for start in range(0, len(waveform) + _OVERLAP // 2 * HOP, _STEP):
        window = np.ascontiguousarray(padded[None, start : start + _WINDOW, None], np.float32)
        names = ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"]
        parts.append(network.run(names, {"serving_default_input_2:0": window}))
    half, frames = _OVERLAP // 2, len(waveform) * (RATE // HOP) // RATE
    both = [np.concatenate([x[0, half:-half] for x in outputs])[:frames] for outputs in zip(*parts)]
    return both[0], both[1]


def seconds(frames: np.ndarray) -> np.ndarray:
    """Times of frames. Windows step by _STEP samples, a little less than their frames' length."""
    return (frames * HOP - frames // _FRAMES * (_FRAMES * HOP - _STEP)) / RATE


def _notes(sound: Sound) -> list[Note]:
    if sound.is_silent:
        return []
    probabilities, onsets = activations(sound.at(RATE))
    spans = track(probabilities, onsets)
    times = seconds(np.arange(len(probabilities) + 1))
    return sorted(
        Note(float(times[s.start]), float(times[s.stop]), s.pitch, s.amplitude) for s in spans
    )


def _score(sound: Sound, reference: Sound | None) -> dict[str, tuple[float, float]]:
    assert reference is not None
    return {"note_F1": (note_f1(_notes(reference), _notes(sound)), 1.0)}


JUDGE = Judge(
    name="notes",
    metrics=("note_F1",),
    wheel=WHEEL,
    rate=RATE,
    score=_score,
    needs="pairs",
    modules=("onnxruntime",),
)

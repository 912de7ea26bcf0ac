"""DNSMOS P.835 and P.808 (arXiv 2110.01763, 2010.15258): opinion scores of speech, 1 to 5.

The networks are Microsoft's, from the wheel `speechmos`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from audioldm2_jax.evaluation.judges import onnx
from audioldm2_jax.evaluation.judges.base import Judge, Sound, Wheel, sounds
from audioldm2_jax.evaluation.judges.mel import power_mel

WHEEL = Wheel(
    "speechmos",
    "speechmos",
    "0.0.1.1",
    "MIT",
    ("dnsmos_models/sig_bak_ovr.onnx", "dnsmos_models/model_v8.onnx"),
)
_P835, _P808 = WHEEL.files
RATE = 16000
WINDOW = 144160  # samples: 9.01 s
LOWEST = 1.0  # the worst opinion; what silence gets
KEYS = ("SIG", "BAK", "OVRL", "P808")

# Opinion = a x^2 + b x + c of the network's output x (microsoft/DNS-Challenge, dnsmos_local.py).
_CURVES = np.array(
    [
        (-0.08397278, 1.22083953, 0.0052439),
        (-0.13166888, 1.60915514, -0.39604546),
        (-0.06766283, 1.11546468, 0.04602535),
    ]
)


def scores(waveforms: Iterable, sample_rate: int) -> dict[str, np.ndarray]:
    """{SIG, BAK, OVRL, P808: float64 [N]} of clips [samples] of one rate in Hz.

    SIG is of the speech, BAK of the background, OVRL of both (P.835), P808 of the whole. A clip
    shorter than 9.01 s is doubled until it is long enough; values are means over windows a second
    apart. Silent clips get 1.0, for the networks give silence a background of 3.5. Raises
    InputError if the package is missing or a clip is not finite.
    """
    rows = [[*_p835(sound), _p808(sound)] for sound in sounds(waveforms, sample_rate)]
    return dict(zip(KEYS, np.array(rows, np.float64).reshape(-1, len(KEYS)).T))


def windows(waveform: np.ndarray) -> np.ndarray:
    """The network's inputs: [samples] at RATE -> [W, WINDOW], one second apart."""
    while len(waveform) < WINDOW:
        waveform = np.concatenate([waveform, waveform])
    # The reference counts in whole seconds. It also drops windows 7 to 27 of long clips, where its
    # product (i + 9.01) * 16000 is rounded down to a sample less; we keep them.
    count = int(len(waveform) // RATE - WINDOW / RATE) + 1
    views = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)
    return views[::RATE][:count]


def _p835(sound: Sound) -> np.ndarray:
    """SIG, BAK and OVRL: [3]."""
    if sound.is_silent:
        return np.full(len(_CURVES), LOWEST)
    raw = np.stack([_run(_P835, window[None])[0] for window in windows(sound.at(RATE))])
    opinions = [np.polyval(curve, column) for curve, column in zip(_CURVES, raw.T)]
    return np.mean(opinions, 1)


def _p808(sound: Sound) -> float:
    if sound.is_silent:
        return LOWEST
    raw = [_run(_P808, _decibels(window)[None])[0] for window in windows(sound.at(RATE))]
    return float(np.mean(raw, dtype=np.float64))


def _decibels(window: np.ndarray) -> np.ndarray:
    """The input of P.808's network: dB under the maximum, to 80 dB below it. -> [900, 120]."""
    power = np.maximum(power_mel(window[:-160], RATE, 321, 160, 120), 1e-10)
    decibels = 10 * np.log10(power / power.max())
    return ((np.maximum(decibels, -80) + 40) / 40).astype(np.float32)


def _run(file: str, values: np.ndarray) -> np.ndarray:
    network = onnx.session(WHEEL.path(file))
    return network.run(None, {"input_1": np.ascontiguousarray(values, np.float32)})[0]


def _score(sound: Sound, reference: Sound | None) -> dict[str, tuple[float, float]]:
    return {f"DNSMOS_{key}": (value, 1.0) for key, value in zip(KEYS, _p835(sound))}


JUDGE = Judge(
    name="dnsmos",
    metrics=("DNSMOS_SIG", "DNSMOS_BAK", "DNSMOS_OVRL"),
    wheel=WHEEL,
    rate=RATE,
    score=_score,
    modules=("onnxruntime",),
)

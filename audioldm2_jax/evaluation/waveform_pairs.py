"""PSNR, SSIM and LSD of a pair of clips by a protocol's rules."""

from __future__ import annotations

import functools
import math

import numpy as np

from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.metrics.reconstruction import lsd, mel_images, psnr_of, ssim_of
from audioldm2_jax.evaluation.rules import EvalProtocol, LoaderRules

RECONSTRUCTION = ("PSNR", "SSIM", "LSD")
# audioldm_eval's MelPairedDataset, also TANGO's: unlike for networks, short clips get no zeros.
PAIR_LOADER = LoaderRules()


def waveform_scores(
    reference: np.ndarray,
    generated: np.ndarray,
    sample_rate: int,
    metrics: tuple[str, ...],
    protocol: EvalProtocol,
) -> dict[str, float]:
    """Scores of clips [samples]: infinite for a PSNR of equal mels, and for an SSIM skipped there.

    nan for clips that a metric does not take (too short, another rate).
    """
    scores = dict.fromkeys(metrics, math.nan)
    shift = protocol.lsd_shift_samples
    # Both metrics of mels read the same two.
    images = functools.cache(lambda: mel_images(reference, generated, sample_rate))
    calls = {
        "PSNR": lambda: psnr_of(*images()),
        "SSIM": lambda: _ssim(*images(), protocol.skip_equal_pairs),
        "LSD": lambda: lsd(reference, generated, sample_rate, shift_samples=shift),
    }
    for metric in metrics:
        try:
            scores[metric] = calls[metric]()
        except InputError:
            continue
    return scores


def _ssim(x: np.ndarray, y: np.ndarray, skip_equal: bool) -> float:
    if skip_equal and math.isinf(psnr_of(x, y)):
        return math.inf
    return ssim_of(x, y)


def pair_note(metric: str, values: np.ndarray, sample_rate: int, protocol: EvalProtocol) -> str:
    """What a figure's note says: the rate, the shift, and the pairs that are equal."""
    note = f"of {sample_rate} Hz"
    if metric == "LSD" and protocol.lsd_shift_samples:
        note += f", generated clips without their first {protocol.lsd_shift_samples} samples"
    if equal := int(np.isinf(values).sum()):
        what = "PSNR infinite" if metric == "PSNR" else "left out as their PSNR is infinite"
        note = f"{equal} pair{'s' * (equal > 1)} equal, {what}; {note}"
    return note

"""The result of an evaluation: figures with intervals, and what is needed to defend them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from audioldm2_jax import files
from audioldm2_jax.errors import InputError

if TYPE_CHECKING:
    from audioldm2_jax.evaluation.protocol import EvalProtocol

FORMAT = 1  # of result.json; a reader refuses larger ones

# Standard metric keys of JSON, tables and reports -> (their name, whether larger is better).
# None: neither end is better by itself.
METRICS: dict[str, tuple[str, bool | None]] = {
    "FD": ("Frechet distance of the classifier's embeddings", False),
    "FAD": ("Frechet audio distance", False),
    "FAD_inf": ("FAD extrapolated to infinitely many clips", False),
    "KAD": ("kernel audio distance", False),
    "KL": ("KL divergence of class probabilities, softmax", False),
    "KL_sigmoid": ("KL divergence of class probabilities, sigmoid", False),
    "IS": ("Inception score", True),
    "KID": ("kernel Inception distance", False),
    "CLAP": ("CLAP score of caption and sound", True),
    "R@1": ("share of captions whose own clip is the nearest", True),
    "R@5": ("share of captions whose own clip is among the 5 nearest", True),
    "R@10": ("share of captions whose own clip is among the 10 nearest", True),
    "mAP@10": ("mean average precision among the 10 nearest clips", True),
    "PSNR": ("peak signal-to-noise ratio of spectrograms, dB", True),
    "SSIM": ("structural similarity of spectrograms", True),
    "LSD": ("log-spectral distance", False),
    "WER": ("word error rate of what a recogniser hears", False),
    "CER": ("character error rate of what a recogniser hears", False),
    "DNSMOS_SIG": ("DNSMOS P.835, speech", True),
    "DNSMOS_BAK": ("DNSMOS P.835, background", True),
    "DNSMOS_OVRL": ("DNSMOS P.835, overall", True),
    "speaker_similarity": ("cosine of the voices' embeddings", True),
    "note_F1": ("F1 of notes, by onset and pitch", True),
    "pitch_accuracy": ("share of frames whose pitch is the reference's", True),
    "silent_share": ("share of generated clips that are silent", False),
}


@dataclass(frozen=True)
class Figure:
    """One number.

    value: None where it is absent, and `note` says why. low, high: a 95 % bootstrap interval, None
    without one. n: the clips or pairs that it is computed from.
    """

    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


@dataclass
class EvalResult:
    """Figures of one set of generated clips against one reference set.

    generated, reference: the sets' names. hash: `protocol.protocol_hash` of the protocol, the
    weights and the settings; figures of different hashes are not comparable. backbones: {name:
    sha256 of weights}. per_class: {label of the reference: figures}. problems: {set: counts and
    names of bad clips}. warnings: a line each, to be read with every figure. clips: scores of each
    clip, one dict with `name` each. ladders: {metric: [[clips, value], ...]}, its bias at small N.
    generation: how clips were generated for it. settings: of `settings.evaluation_settings`.
    """

    generated: str
    reference: str
    protocol: EvalProtocol
    hash: str
    backbones: dict[str, str]
    figures: list[Figure]
    per_class: dict[str, list[Figure]] = field(default_factory=dict)
    problems: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    clips: list[dict] = field(default_factory=list)
    ladders: dict[str, list[list[float]]] = field(default_factory=dict)
    generation: dict | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""
    device: str = ""

    def figure(self, metric: str) -> Figure:
        """The figure of a metric key; an absent one for a metric that was not asked for."""
        absent = Figure(metric, None, note="not asked for")
        return next((f for f in self.figures if f.metric == metric), absent)

    def as_dict(self) -> dict:
        """What JSON can hold; numbers that are not finite become None."""
        return {"format": FORMAT} | _finite(dataclasses.asdict(self))

    def save(self, path) -> None:
        """Writes result.json. Raises InputError if it cannot be written."""
        files.write_json(path, self.as_dict())

    @classmethod
    def load(cls, path) -> EvalResult:
        """Reads result.json. Raises InputError for any other file."""
        content = files.read_json(path)
        version = content.pop("format", None)
        if not isinstance(version, int) or "figures" not in content:
            raise InputError(f"{path}: not a result of `audioldm2-jax evaluate`")
        if version > FORMAT:
            raise InputError(f"{path}: format {version} of a later version; update audioldm2-jax")
        try:
            content["figures"] = [Figure(**figure) for figure in content["figures"]]
            content["per_class"] = {
                label: [Figure(**figure) for figure in figures]
                for label, figures in content["per_class"].items()
            }
            content["protocol"] = _protocol(content["protocol"])
            return cls(**content)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not a whole result ({error})") from None


def _finite(value):
    """`value` with numbers that are not finite replaced by None, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def _protocol(content: dict) -> EvalProtocol:
    from audioldm2_jax.evaluation.protocol import BackboneSpec, EvalProtocol, LoaderRules

    slots = tuple(
        (slot, BackboneSpec(**spec | {"loader": LoaderRules(**spec["loader"])}))
        for slot, spec in content["slots"]
    )
    return EvalProtocol(**content | {"slots": slots})

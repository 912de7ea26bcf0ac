"""The study's four corruptions, by which a metric is asked what it sees (arXiv 2303.03857, 3).

Noise and masking change a log-mel spectrogram, which a vocoder turns back into sound; interference
and order change waveforms. What happens to a clip follows from its name, the kind and the seed
alone; of a set, a share is corrupted, and a larger share contains a smaller one.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from audioldm2_jax.checkpoints import download, hub, registry
from audioldm2_jax.encoders.latents import vocode_mel
from audioldm2_jax.errors import InputError
from audioldm2_jax.evaluation.rules import one_of
from audioldm2_jax.features.mel import MelConfig, log_mel, mel_config, mel_filters
from audioldm2_jax.features.stft import stft
from audioldm2_jax.presets import HiFiGANConfig

NOISES = ("variance", "std")
FILLS = ("min", "zero")
_BLOCK = 128  # mel frames: lengths are rounded up to whole blocks, so that few are compiled


@dataclass(frozen=True)
class CorruptionRules:
    """What the study leaves open, and its numbers.

    noise: whether `noise_share` of the mel's range is the noise's "variance", as the study says, or
    its "std"; its mean is the mel's mean. fill: what masked frames become: "min", the clip's lowest
    value, which is the zero of a mel scaled to 0..1, or "zero", the zero of a log-mel, which is
    loud. spans, span_share: how many, and the length of each; they may overlap. classes: that an
    interferer is drawn from, none of them the clip's own. events, event_seconds: of a clip whose
    events are reordered.
    """

    noise: str = "variance"
    noise_share: float = 0.20
    fill: str = "min"
    spans: int = 2
    span_share: float = 0.10
    classes: int = 10
    events: int = 5
    event_seconds: float = 2.0
    seed: int = 0

    def __post_init__(self):
        one_of("noise", self.noise, NOISES)
        one_of("fill", self.fill, FILLS)
        if not 0 < self.span_share <= 1 or self.events < 2 or self.event_seconds <= 0:
            raise InputError("a span is a share above 0, events are two or more, of some length")


def generator(name: str, kind: str, seed: int) -> np.random.Generator:
    """The random numbers of one clip's corruption."""
    text = f"{kind}/{seed}/{name}".encode("utf-8", "surrogatepass")
    return np.random.default_rng(np.frombuffer(hashlib.sha256(text).digest(), np.uint32))


def corrupted_names(names: Sequence[str], share: float, seed: int = 0) -> frozenset[str]:
    """Which clips of a set are corrupted: the share of them, rounded, drawn by name."""
    if not 0 <= share <= 1:
        raise InputError(f"share {share}: from 0 to 1")

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()

    return frozenset(sorted(names, key=key)[: round(share * len(names))])


def add_noise(mel: np.ndarray, name: str, rules: CorruptionRules) -> np.ndarray:
    """Gaussian noise around the mel's own mean. mel: [T, F] -> [T, F]."""
    spread = rules.noise_share * float(mel.max() - mel.min())
    deviation = np.sqrt(spread) if rules.noise == "variance" else spread
    random = generator(name, "noise", rules.seed)
    return (mel + random.normal(mel.mean(), deviation, mel.shape)).astype(np.float32)


def mask_spans(mel: np.ndarray, name: str, rules: CorruptionRules) -> np.ndarray:
    """Whole frames at random places become silence. mel: [T, F] -> [T, F]."""
    length = max(1, round(rules.span_share * len(mel)))
    random, masked = generator(name, "masking", rules.seed), mel.copy()
    for start in random.integers(0, len(mel) - length + 1, rules.spans):
        masked[start : start + length] = mel.min() if rules.fill == "min" else 0.0
    return masked


def mel_power(wave: np.ndarray, config: MelConfig) -> float:
    """The sum of squares of a clip's mel magnitudes. wave: [samples]."""
    pad = (config.fft - config.hop) // 2
    short = max(0, config.fft - len(wave))
    magnitude = np.abs(np.asarray(_spectrum(np.pad(wave, (0, short)), config, pad)), dtype=float)
    return float(np.square(magnitude @ mel_filters(config).astype(float)).sum())


@functools.partial(jax.jit, static_argnums=(1, 2))
def _spectrum(wave, config: MelConfig, pad: int):
    return stft(wave[None], config.fft, config.hop, pad)[0]


def interfere(wave: np.ndarray, interferer: np.ndarray, config: MelConfig) -> np.ndarray:
    """A clip and another one at 0 dB of each other, by the power of their mel magnitudes.

    wave: [samples] -> [samples]; interferer: any length, repeated or cut to the clip's. A silent
    clip stays as it is. Raises InputError for a silent interferer.
    """
    if not len(interferer):
        raise InputError("an interferer without samples")
    other = np.resize(interferer, len(wave)).astype(np.float32)
    power = mel_power(other, config)
    if power <= 0:
        raise InputError("a silent interferer has no level")
    return wave + np.float32(np.sqrt(mel_power(wave, config) / power)) * other


def draw_interferers(
    name: str, labels: Sequence[str], others: Mapping[str, Sequence[str]], rules: CorruptionRules
) -> list[str]:
    """Names of clips that may interfere, the first one first: of ten classes not the clip's own.

    labels: the clip's; others: {name: labels} of all clips, which may hold the clip itself. Raises
    InputError where no clip is of another class.
    """
    random = generator(name, "interference", rules.seed)
    classes = sorted({label for own in others.values() for label in own} - {*labels})
    drawn = {*random.permutation(classes)[: rules.classes].tolist()}
    fit = sorted(n for n, own in others.items() if {*own} & drawn and not {*own} & {*labels})
    if not fit:
        raise InputError(f"{name}: no clip of another class could interfere")
    return random.permutation(fit).tolist()


def draw_events(name: str, names: Sequence[str], rules: CorruptionRules) -> list[str]:
    """The clips whose starts are the events of one clip, itself first."""
    others = sorted({*names} - {name})
    if len(others) < rules.events - 1:
        raise InputError(f"{name}: {rules.events} events take as many clips")
    random = generator(name, "events", rules.seed)
    return [name, *random.permutation(others)[: rules.events - 1].tolist()]


def chain(waves: Sequence[np.ndarray], sample_rate: int, rules: CorruptionRules) -> np.ndarray:
    """The first seconds of clips, one after another; zeros fill up shorter ones."""
    length = round(rules.event_seconds * sample_rate)
    return np.concatenate([np.pad(w[:length], (0, max(0, length - len(w)))) for w in waves])


def event_order(name: str, rules: CorruptionRules) -> list[int]:
    """Another order of a clip's events: a permutation of 0 .. events - 1, never the identity."""
    random, same = generator(name, "order", rules.seed), list(range(rules.events))
    order = same
    while order == same:
        order = random.permutation(rules.events).tolist()
    return order


@dataclass(frozen=True)
class MelVocoder:
    """A checkpoint's vocoder and its front end, between waveforms and log-mels."""

    config: HiFiGANConfig
    params: dict
    source: str

    @classmethod
    def load(cls, model: str) -> MelVocoder:
        """The vocoder of a bundled model, a folder in the hub layout, or a hub id.

        Raises InputError for a model that cannot be read.
        """
        folder = download.locate(registry.OFFICIAL_NAMES.get(model, model), quiet=True)
        checkpoint = hub.load(folder, only=("vocoder",))
        return cls(checkpoint.config.vocoder, checkpoint.params["vocoder"], model)

    @property
    def front_end(self) -> MelConfig:
        """The mel that the vocoder inverts."""
        return mel_config(self.config)

    def mel(self, wave: np.ndarray) -> np.ndarray:
        """wave: [samples] at the vocoder's rate -> log-mel [T, F], its end filled with zeros."""
        front = self.front_end
        frames = max(1, -(-len(wave) // front.hop))
        padded = np.pad(wave, (0, _blocks(frames) * front.hop - len(wave)))
        return np.asarray(_log_mel(padded[None], front)[0, :frames])

    def wave(self, mel: np.ndarray, samples: int) -> np.ndarray:
        """mel: [T, F] -> [samples] fp32; T frames give T * hop samples at most."""
        silence = np.log(1e-5)  # the front end's lowest value
        padded = np.pad(mel, ((0, _blocks(len(mel)) - len(mel)), (0, 0)), constant_values=silence)
        wave = _vocode(self.params, padded[None].astype(np.float32), self.config)[0]
        return np.asarray(wave)[:samples]


def _blocks(frames: int) -> int:
    return -(-frames // _BLOCK) * _BLOCK


@functools.partial(jax.jit, static_argnums=1)
def _log_mel(waves, config: MelConfig):
    return log_mel(waves, config)


@functools.partial(jax.jit, static_argnums=2)
def _vocode(params: dict, mel, config: HiFiGANConfig):
    return vocode_mel(params, mel, config)

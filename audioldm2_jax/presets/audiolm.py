"""AudioLM (arXiv 2209.03143): semantic tokens, then codec tokens, each by a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets.codecs import DACConfig, EncodecConfig, MimiConfig, SoundStreamConfig
from audioldm2_jax.presets.language import DecoderConfig, TokenLMConfig, audiolm_stages
from audioldm2_jax.presets.semantic import HuBERTConfig, KMeansConfig, W2VBERTConfig

CODECS = ("soundstream", "encodec", "dac", "mimi")


@dataclass(frozen=True)
class SequenceConfig:
    """The sequences that the language models were trained on, and how they are sampled.

    sample_rate, frame_rate, semantic_rate: of the codec (Hz, frames a second) and of the semantic
    tokens, repeats included, in training. prompt: what is read of a recording, its end, in seconds
    (section IV-A): 3 of speech, 4 of piano. piece: what the coarse stage sees at once, its prompt
    included, in seconds. remove_repeats: whether semantic tokens that are equal in a row are one.
    unique_rate: tokens a second that then remain, for sequences without a prompt; None is
    semantic_rate. temperature: of the semantic, the coarse and the fine stage. top_k, top_p: None
    keeps all tokens.
    """

    sample_rate: int = 16000
    frame_rate: float = 50.0
    semantic_rate: int = 50
    prompt: float = 3.0
    piece: float = 10.0
    remove_repeats: bool = True
    unique_rate: float | None = None
    temperature: tuple[float, float, float] = (0.6, 0.8, 0.6)
    top_k: int | None = None
    top_p: float | None = None


@dataclass(frozen=True)
class AudioLMConfig:
    """The configuration of AudioLM, one field per part.

    A codec, a semantic encoder and its k-means, and a language model for each stage; the defaults
    are the paper's sizes over a published codec and encoder. fine_lm: None where coarse_lm predicts
    all levels, as of piano.
    """

    family: str = "audiolm"
    soundstream: SoundStreamConfig | None = None
    encodec: EncodecConfig | None = None
    dac: DACConfig | None = field(default_factory=DACConfig)
    mimi: MimiConfig | None = None
    hubert: HuBERTConfig | None = field(default_factory=HuBERTConfig)
    w2v_bert: W2VBERTConfig | None = None
    kmeans: KMeansConfig = field(default_factory=lambda: KMeansConfig(codebook=1024))
    semantic_lm: TokenLMConfig = field(default_factory=lambda: audiolm_stages()[0])
    coarse_lm: TokenLMConfig = field(default_factory=lambda: audiolm_stages()[1])
    fine_lm: TokenLMConfig | None = field(default_factory=lambda: audiolm_stages()[2])
    sequences: SequenceConfig = field(default_factory=SequenceConfig)

    @property
    def codec_name(self) -> str:
        """The part that is the codec."""
        return next(name for name in CODECS if getattr(self, name) is not None)

    @property
    def codec(self) -> SoundStreamConfig | EncodecConfig | DACConfig | MimiConfig:
        """The codec's configuration."""
        return getattr(self, self.codec_name)

    @property
    def semantic_encoder(self) -> HuBERTConfig | W2VBERTConfig:
        """The semantic encoder's configuration."""
        encoder = self.hubert or self.w2v_bert
        assert encoder is not None, "no semantic encoder"
        return encoder

    @property
    def levels(self) -> int:
        """The codec's levels that the language models know, the first ones."""
        return (self.fine_lm or self.coarse_lm).levels


@dataclass(frozen=True)
class Clock:
    """How a model's tokens share time.

    period: the shortest time in seconds of whole codec frames and whole semantic tokens. frames,
    tokens: their numbers in it.
    """

    period: Fraction
    frames: int
    tokens: int

    @classmethod
    def of(cls, config: AudioLMConfig) -> Clock:
        """The clock of a model."""
        frame = Fraction(config.codec.hop, config.codec.sample_rate)
        token = Fraction(1, config.kmeans.frame_rate)
        scale = math.lcm(frame.denominator, token.denominator)
        period = Fraction(math.lcm(int(frame * scale), int(token * scale)), scale)
        return cls(period, int(period / frame), int(period / token))

    def whole(self, seconds: float) -> int:
        """The whole periods in a time; a rounding error of the time does not count."""
        return math.floor(seconds / float(self.period) + 1e-6)

    def covering(self, seconds: float) -> int:
        """The fewest periods that hold a time."""
        return math.ceil(seconds / float(self.period) - 1e-6)

    def samples(self, periods: int, sample_rate: int) -> int:
        """The samples of so many periods at a rate in Hz, rounded."""
        return round(periods * self.period * sample_rate)


def check_parts(config: AudioLMConfig) -> AudioLMConfig:
    """The configuration. Raises InputError for the first part that does not fit the others."""
    kmeans, encoder, codec = config.kmeans, config.semantic_encoder, config.codec
    _check_equal("kmeans", "width", kmeans.width, "semantic_encoder", encoder.width)
    if kmeans.layer > encoder.depth:
        raise InputError(
            f"kmeans/config.json: layer is {kmeans.layer}; semantic_encoder has the layers 0 to "
            f"{encoder.depth}"
        )
    for name, lm in _language_models(config).items():
        _check_equal(name, "stage", lm.stage, "its folder", name.removesuffix("_lm"))
        if lm.stage != "fine":
            _check_equal(name, "semantic", lm.semantic, "kmeans", kmeans.codebook)
        if lm.stage != "semantic":
            _check_equal(name, "codebook", lm.codebook, "codec", codec.codebook)
        if lm.levels > codec.levels:
            raise InputError(
                f"{name}/config.json: levels is {lm.levels}, but codec has {codec.levels}"
            )
    if config.fine_lm is not None:
        levels = config.coarse_lm.levels
        _check_equal("fine_lm", "given", config.fine_lm.given, "coarse_lm", levels)
    if codec.channels != 1:
        raise InputError(f"codec/config.json: {codec.channels} channels; AudioLM's codec has one")
    _check_lengths(config)
    return config


def _language_models(config: AudioLMConfig) -> dict[str, TokenLMConfig]:
    names = ("semantic_lm", "coarse_lm", "fine_lm")
    return {name: getattr(config, name) for name in names if getattr(config, name) is not None}


def _check_equal(part: str, entry: str, value, other: str, expected) -> None:
    if value != expected:
        raise InputError(f"{part}/config.json: {entry} is {value}, but {other} has {expected}")


def _check_lengths(config: AudioLMConfig) -> None:
    """Whether rates are those of training, prompt and piece are lengths, and positions suffice."""
    lengths, clock, codec = config.sequences, Clock.of(config), config.codec
    for entry, part, rate in (
        ("sample_rate", "codec", codec.sample_rate),
        ("frame_rate", "codec", codec.sample_rate / codec.hop),
        ("semantic_rate", "kmeans", config.kmeans.frame_rate),
    ):
        if (trained := getattr(lengths, entry)) != rate:
            raise InputError(
                f"generation_config.json: {entry} of training is {trained:g}, but {part} has "
                f"{rate:g}"
            )
    if clock.period > 1:
        raise InputError(
            f"kmeans/config.json: {config.kmeans.frame_rate} tokens a second, but codec has frames "
            f"of {codec.hop} samples at {codec.sample_rate} Hz; they share no second"
        )
    if not clock.period <= lengths.prompt <= lengths.piece - clock.period:
        raise InputError(
            f"generation_config.json: prompt_seconds is {lengths.prompt:g}; from "
            f"{float(clock.period):g} to less than piece_seconds, {lengths.piece:g}, is needed"
        )
    periods = clock.whole(lengths.piece)
    semantic = periods * clock.tokens
    coarse = periods * clock.frames * config.coarse_lm.levels
    # Besides, tokens that tell where the parts of a sequence begin.
    for name, count in (("semantic_lm", semantic + 1), ("coarse_lm", semantic + coarse + 2)):
        if count > (most := getattr(config, name).max_tokens):
            raise InputError(
                f"{name}/config.json: max_tokens is {most}, but the {lengths.piece:g} s of "
                f"generation_config.json, piece_seconds, are up to {count} tokens"
            )


def audiolm() -> AudioLMConfig:
    """The paper's language models, 12 layers x 1024, over DAC 16 kHz and HuBERT base."""
    return AudioLMConfig()


def tiny_audiolm() -> AudioLMConfig:
    """Every part in a few thousand parameters, for tests."""
    decoder = DecoderConfig(width=16, depth=1, heads=2, head_width=8, hidden=32)
    return AudioLMConfig(
        dac=DACConfig(
            width=4,
            decoder_width=16,
            strides=(16, 20),
            latent=16,
            levels=3,
            codebook=16,
            codebook_width=4,
        ),
        hubert=HuBERTConfig(
            channels=(8, 8),
            kernels=(25, 16),
            strides=(20, 16),
            width=16,
            depth=1,
            heads=2,
            hidden=16,
            position_kernel=4,
            position_groups=2,
        ),
        kmeans=KMeansConfig(codebook=24, width=16, layer=1, frame_rate=25),
        semantic_lm=TokenLMConfig("semantic", 24, max_tokens=64, decoder=decoder),
        coarse_lm=TokenLMConfig("coarse", 24, 16, 2, max_tokens=256, decoder=decoder),
        fine_lm=TokenLMConfig("fine", 0, 16, 3, 2, max_tokens=92, decoder=decoder),
        sequences=SequenceConfig(semantic_rate=25, prompt=0.48, piece=1.6),
    )


# A model of the paper's size, and its tiny twin; `PRESETS` holds the latent diffusion models.
AUDIOLM_PRESETS = {"audiolm": audiolm, "tiny-audiolm": tiny_audiolm}

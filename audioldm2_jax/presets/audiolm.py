"""AudioLM (arXiv 2209.03143): semantic tokens, then codec tokens, each by a language model."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets.codecs import DACConfig, EncodecConfig, MimiConfig, SoundStreamConfig
from audioldm2_jax.presets.language import DecoderConfig, TokenLMConfig
from audioldm2_jax.presets.semantic import HuBERTConfig, KMeansConfig, W2VBERTConfig

CODECS = ("soundstream", "encodec", "dac", "mimi")
SEMANTIC_ENCODERS = ("hubert", "w2v_bert")


@dataclass(frozen=True)
class SequenceConfig:
    """The sequences that the language models were trained on, and how they are sampled.

    Lengths in seconds (section IV-A): prompt is what is read of a recording, its end, 3 of speech
    and 4 of piano; piece is what the coarse stage sees at once, chunk what the fine stage does.
    remove_repeats: whether semantic tokens that are equal in a row are one. semantic_rate: tokens a
    second that then remain, for sequences without a prompt; None is the tokenizer's rate.
    temperature: of the semantic, the coarse and the fine stage. top_k, top_p: None keeps all
    tokens.
    """

    prompt: float = 3.0
    piece: float = 10.0
    chunk: float = 3.0
    remove_repeats: bool = True
    semantic_rate: float | None = None
    temperature: tuple[float, float, float] = (0.6, 0.8, 0.6)
    top_k: int | None = None
    top_p: float | None = None


def _coarse() -> TokenLMConfig:
    return TokenLMConfig("coarse", levels=4)


def _fine() -> TokenLMConfig:
    return TokenLMConfig("fine", semantic=0, levels=12, prefix_levels=4)


@dataclass(frozen=True)
class AudioLMConfig:
    """The configuration of AudioLM, one field per part: a codec, a semantic encoder and its k-means,
    and a language model for each stage. The defaults are the paper's sizes with a codec and an
    encoder that are published. fine_lm: None where coarse_lm predicts all levels (piano).
    """

    family: str = "audiolm"
    soundstream: SoundStreamConfig | None = None
    encodec: EncodecConfig | None = None
    dac: DACConfig | None = field(default_factory=DACConfig)
    mimi: MimiConfig | None = None
    hubert: HuBERTConfig | None = field(default_factory=HuBERTConfig)
    w2v_bert: W2VBERTConfig | None = None
    kmeans: KMeansConfig = field(default_factory=lambda: KMeansConfig(codebook=1024))
    semantic_lm: TokenLMConfig = field(default_factory=TokenLMConfig)
    coarse_lm: TokenLMConfig = field(default_factory=_coarse)
    fine_lm: TokenLMConfig | None = field(default_factory=_fine)
    sequences: SequenceConfig = field(default_factory=SequenceConfig)

    @property
    def codec(self) -> SoundStreamConfig | EncodecConfig | DACConfig | MimiConfig:
        """The codec's configuration."""
        return next(c for c in (getattr(self, name) for name in CODECS) if c is not None)

    @property
    def semantic_encoder(self) -> HuBERTConfig | W2VBERTConfig:
        """The semantic encoder's configuration."""
        return self.hubert or self.w2v_bert

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


def check_parts(config: AudioLMConfig) -> AudioLMConfig:
    """The configuration, whose parts fit together. Raises InputError for the first that does not."""
    kmeans, coarse, fine = config.kmeans, config.coarse_lm, config.fine_lm
    _equal(
        "kmeans/config.json: width", kmeans.width,
        "semantic_encoder/config.json has states of", config.semantic_encoder.width,
    )  # fmt: skip
    if kmeans.layer > config.semantic_encoder.depth:
        raise InputError(
            f"kmeans/config.json: layer is {kmeans.layer}; the semantic encoder has layers 0 to "
            f"{config.semantic_encoder.depth}"
        )
    for name, lm in (("semantic_lm", config.semantic_lm), ("coarse_lm", coarse)):
        _equal(f"{name}/config.json: semantic", lm.semantic, "kmeans has", kmeans.codebook)
    for name, lm in (("coarse_lm", coarse), ("fine_lm", fine)):
        if lm is not None:
            _equal(
                f"{name}/config.json: codebook", lm.codebook, "the codec has", config.codec.codebook
            )
    if fine is not None:
        _equal(
            "fine_lm/config.json: prefix_levels", fine.prefix_levels, "coarse_lm has", coarse.levels
        )
    _check_codec(config)
    _check_lengths(config)
    return config


def _equal(name: str, value, other: str, expected) -> None:
    if value != expected:
        raise InputError(f"{name} is {value}; {other} {expected}, so these parts do not fit")


def _check_codec(config: AudioLMConfig) -> None:
    codec = config.codec
    if config.levels > codec.levels:
        name = "coarse_lm" if config.fine_lm is None else "fine_lm"
        raise InputError(
            f"{name}/config.json: levels is {config.levels}; the codec has {codec.levels}"
        )
    if codec.channels != 1:
        raise InputError(f"codec/config.json: {codec.channels} channels; AudioLM's codec has one")
    clock = Clock.of(config)
    if clock.period > 1:
        raise InputError(
            f"kmeans/config.json: frame_rate is {config.kmeans.frame_rate}; the codec's frames of "
            f"{codec.hop} samples at {codec.sample_rate} Hz share no second with it"
        )


def _check_lengths(config: AudioLMConfig) -> None:
    """Lengths of the sequences, and that the language models have positions for them."""
    lengths, clock = config.sequences, Clock.of(config)
    if not clock.period <= lengths.prompt < lengths.piece:
        raise InputError(
            f"generation_config.json: prompt is {lengths.prompt:g} s; it must be below piece, "
            f"{lengths.piece:g} s, and at least {float(clock.period):g} s"
        )
    periods = clock.whole(lengths.piece)
    semantic = periods * clock.tokens
    frames = min(math.ceil(lengths.chunk / float(clock.period)), periods) * clock.frames
    tokens = {
        "semantic_lm": semantic,
        "coarse_lm": semantic + periods * clock.frames * config.coarse_lm.levels,
        "fine_lm": frames * config.levels,
    }
    for name, count in tokens.items():
        lm = getattr(config, name)
        # Special tokens between and behind the parts of a sequence.
        if lm is not None and count + 4 > lm.max_tokens:
            raise InputError(
                f"{name}/config.json: max_tokens is {lm.max_tokens}; {lengths.piece:g} s (of the "
                f"fine stage {lengths.chunk:g} s) are {count} tokens"
            )


def audiolm() -> AudioLMConfig:
    """The paper's language models, 12 layers x 1024, over DAC 16 kHz and HuBERT base."""
    return AudioLMConfig()


def tiny_audiolm() -> AudioLMConfig:
    """Every part in a few thousand parameters, for tests."""
    decoder = DecoderConfig(width=16, depth=2, heads=2, head_width=8, hidden=32)
    return AudioLMConfig(
        dac=DACConfig(
            width=4, decoder_width=32, latent=16, levels=3, codebook=16, codebook_width=4
        ),
        hubert=HuBERTConfig(
            channels=(8,) * 7,
            width=16,
            depth=2,
            heads=2,
            hidden=16,
            position_kernel=4,
            position_groups=2,
        ),
        kmeans=KMeansConfig(codebook=24, width=16, layer=1, frame_rate=25),
        semantic_lm=TokenLMConfig("semantic", 24, 16, max_tokens=64, decoder=decoder),
        coarse_lm=TokenLMConfig("coarse", 24, 16, levels=2, max_tokens=256, decoder=decoder),
        fine_lm=TokenLMConfig("fine", 0, 16, 3, prefix_levels=2, max_tokens=256, decoder=decoder),
        sequences=SequenceConfig(prompt=0.48, piece=1.6, chunk=0.6),
    )


# A model of the paper's size, and its tiny twin; PRESETS holds the latent diffusion models.
AUDIOLM_PRESETS = {"audiolm": audiolm, "tiny-audiolm": tiny_audiolm}

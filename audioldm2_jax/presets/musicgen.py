"""MusicGen (arXiv 2306.05284): text to music by one language model over delayed codec tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from audioldm2_jax.errors import InputError
from audioldm2_jax.presets.codecs import ENCODEC, EncodecConfig
from audioldm2_jax.presets.language import DecoderConfig
from audioldm2_jax.presets.parts import T5Config


@dataclass(frozen=True)
class MusicGenLMConfig:
    """The language model: `facebook/musicgen-small`. Others have 48 blocks of width 1536 or 2048.

    codebook: codes of each level, K. levels: token streams, Q, those of two channels in turn.
    channels: of the sound. text_width: of the text encoder's states, which are projected to `width`
    if they are of another one. positions: of the table that transformers makes, which has no end.
    window: frames of training; a longer piece is made in windows.
    """

    codebook: int = 2048
    levels: int = 4
    channels: int = 1
    width: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 4096
    text_width: int = 768
    activation: str = "gelu"
    positions: int = 2048
    window: int = 1500
    eps: float = 1e-5

    @property
    def pad(self) -> int:
        """The token in front of each stream and behind it."""
        return self.codebook

    @property
    def overlap(self) -> int:
        """Frames of a window with which the next one begins: 12 of 30 s, as audiocraft has it."""
        return max(1, 2 * self.window // 5)

    @property
    def delays(self) -> tuple[int, ...]:
        """By how many steps each stream is late: one more for each level of the codec."""
        return tuple(level // self.channels for level in range(self.levels))

    @property
    def decoder(self) -> DecoderConfig:
        """The transformer of the streams."""
        return DecoderConfig(
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            head_width=self.width // self.heads,
            hidden=self.hidden,
            activation=self.activation,
            norm="layer",
            eps=self.eps,
            positions="sinusoidal",
            cross=True,
        )

    @property
    def projects_text(self) -> bool:
        """Whether the text's states are projected."""
        return self.text_width != self.width


def _t5_base() -> T5Config:
    """`google-t5/t5-base`, whose feed-forwards are plain."""
    return T5Config(width=768, depth=12, heads=12, hidden=3072, activation="relu", gated=False)


@dataclass(frozen=True)
class MusicGenConfig:
    """The configuration of MusicGen, one field per part; the defaults are `musicgen-small`'s."""

    family: str = "musicgen"
    t5: T5Config = field(default_factory=_t5_base)
    encodec: EncodecConfig = field(default_factory=lambda: ENCODEC["encodec_32khz"])
    musicgen_lm: MusicGenLMConfig = field(default_factory=MusicGenLMConfig)

    @property
    def frame_rate(self) -> float:
        """Frames of the codec in a second."""
        return self.encodec.sample_rate / self.encodec.hop

    @property
    def seconds(self) -> float:
        """The length of training."""
        return self.musicgen_lm.window / self.frame_rate


def check_musicgen(config: MusicGenConfig) -> MusicGenConfig:
    """Raises InputError for a language model of other tokens than the codec's."""
    lm, codec = config.musicgen_lm, config.encodec
    theirs = (codec.levels * lm.channels, codec.codebook)
    if (lm.levels, lm.codebook) != theirs:
        raise InputError(
            f"decoder: {lm.levels} streams of {lm.codebook} tokens, but audio_encoder has "
            f"{theirs[0]} of {theirs[1]}; they are of different models"
        )
    if codec.channels != 1 or codec.normalize or codec.chunk:
        raise InputError(
            "audio_encoder: codes channels together, or in chunks; MusicGen's does not"
        )
    return config

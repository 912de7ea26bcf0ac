"""Frozen configurations of the language models over tokens of sound."""

from __future__ import annotations

from dataclasses import dataclass, field

POSITIONS = ("relative", "rope", "sinusoidal")
NORMS = ("layer", "rms")
STAGES = ("semantic", "coarse", "fine")
# Tokens of every stage that stand for no sound; `decoding.layout` names them.
SPECIAL = 5


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder-only transformer; the defaults are AudioLM's (arXiv 2209.03143, section IV-A).

    The paper leaves the heads' width and the feed-forward's kind open: `head_width`, `gated`.
    positions: "relative" is T5's bias by distance (`buckets`, `distance`), one table for all
    blocks; "rope" rotates queries and keys (`theta`); "sinusoidal" is added to the input, as
    MusicGen does. scale: of the queries; None is 1/sqrt(head_width), T5's is 1. bias: of linear
    layers. cross: whether each block also attends to a context.
    """

    width: int = 1024
    depth: int = 12
    heads: int = 16
    head_width: int = 64
    hidden: int = 4096
    activation: str = "gelu_new"
    gated: bool = False
    bias: bool = False
    norm: str = "rms"
    eps: float = 1e-6
    positions: str = "relative"
    buckets: int = 32
    distance: int = 128
    theta: float = 10000.0
    scale: float | None = None
    cross: bool = False

    @property
    def inner(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width


@dataclass(frozen=True)
class TokenLMConfig:
    """One of AudioLM's three stages, whose tokens `decoding.layout` lays out.

    stage: of `STAGES`. semantic: number of semantic tokens (0: none). codebook: codes of one
    acoustic level. levels: acoustic levels in the vocabulary; the fine stage reads the first
    `given` of them and predicts the others. max_tokens: the longest sequence, prompt included.
    The defaults are the semantic stage's, whose crops last 30 s.
    """

    stage: str = "semantic"
    semantic: int = 1024
    codebook: int = 0
    levels: int = 0
    given: int = 0
    max_tokens: int = 1536
    decoder: DecoderConfig = field(default_factory=DecoderConfig)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return SPECIAL + self.semantic + self.levels * self.codebook

    @property
    def predicted(self) -> int:
        """Tokens of one frame that the stage predicts."""
        return max(1, self.levels - self.given)

    @property
    def chunk(self) -> int:
        """Frames of the longest chunk of the fine stage: 3 s in the paper."""
        return (self.max_tokens - 2) // max(1, self.levels)


def audiolm_stages(levels: int = 12, coarse: int = 4, semantic: int = 1024, codebook: int = 1024):
    """The paper's three stages for a codec of 50 frames a second: (semantic, coarse, fine).

    Crops of 30, 10 and 3 s; semantic tokens at up to 50 a second.
    """
    return (
        TokenLMConfig("semantic", semantic, 0),
        TokenLMConfig("coarse", semantic, codebook, coarse, 0, 502 + 500 * coarse),
        TokenLMConfig("fine", 0, codebook, levels, coarse, 2 + 150 * levels),
    )

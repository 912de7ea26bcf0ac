"""What a model *is*: frozen configurations of every part and of the published AudioLDM 2 sizes.

Defaults are the published values of AudioLDM 2 base (arXiv 2308.05734 and the public hub configs).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RobertaConfig:
    """CLAP's text tower (RoBERTa base). `eps` is the layer norms' epsilon."""

    vocab: int = 50265
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 514
    pad_id: int = 1
    types: int = 1
    eps: float = 1e-12


@dataclass(frozen=True)
class HTSATConfig:
    """CLAP's audio tower: HTSAT base, a Swin transformer over the log-mel image, no fusion."""

    image: int = 256
    mels: int = 64
    patch: int = 4
    embed: int = 128
    depths: tuple[int, ...] = (2, 2, 12, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 8
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    patch_norm: bool = True
    eps: float = 1e-5

    @property
    def width(self) -> int:
        return self.embed * 2 ** (len(self.depths) - 1)


@dataclass(frozen=True)
class ClapMelConfig:
    """CLAP's log-mel front end. Rates in Hz, lengths in samples, `seconds` the clip it reads."""

    sample_rate: int = 48000
    fft: int = 1024
    hop: int = 480
    mels: int = 64
    low: float = 50.0
    high: float = 14000.0
    seconds: float = 10.0
    padding: str = "repeatpad"

    @property
    def samples(self) -> int:
        return int(self.seconds * self.sample_rate)


@dataclass(frozen=True)
class CLAPConfig:
    """Contrastive language-audio pretraining: both towers and the shared space's `width`."""

    text: RobertaConfig = field(default_factory=RobertaConfig)
    audio: HTSATConfig = field(default_factory=HTSATConfig)
    mel: ClapMelConfig = field(default_factory=ClapMelConfig)
    width: int = 512


@dataclass(frozen=True)
class T5Config:
    """FLAN-T5 encoder (large), with gated feed-forwards."""

    vocab: int = 32128
    width: int = 1024
    depth: int = 24
    heads: int = 16
    head_width: int = 64
    hidden: int = 2816
    buckets: int = 32
    distance: int = 128
    activation: str = "gelu_new"
    eps: float = 1e-6


@dataclass(frozen=True)
class ProjectionConfig:
    """Joins CLAP and T5 into GPT-2's input sequence."""

    clap_width: int = 512
    text_width: int = 1024
    width: int = 768


@dataclass(frozen=True)
class GPT2Config:
    """GPT-2 small, rolling out `tokens` vectors of the language of audio (LOA)."""

    vocab: int = 50257
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 1024
    eps: float = 1e-5
    tokens: int = 8


@dataclass(frozen=True)
class UNetConfig:
    """Two-stream T-UNet. `contexts` holds, for each level, the width of each transformer's context.

    None is self-attention; a transformer at place 0 or 1 reads the LOA, at a later place the text
    states. `attention` marks the levels with transformers, `heads` counts each level's heads.
    """

    in_channels: int = 8
    out_channels: int = 8
    channels: tuple[int, ...] = (128, 256, 384, 640)
    layers: int = 2
    attention: tuple[bool, ...] = (False, True, True, True)
    contexts: tuple[tuple[int | None, ...], ...] = ((None, 768, 1024),) * 4
    depths: tuple[int, ...] = (1, 1, 1, 1)
    heads: tuple[int, ...] = (4, 8, 12, 20)
    groups: int = 32
    eps: float = 1e-5
    sample_size: int = 256


@dataclass(frozen=True)
class VAEConfig:
    """Mel autoencoder: time and mel bins are the image's axes."""

    mel_channels: int = 1
    latent_channels: int = 8
    channels: tuple[int, ...] = (128, 256, 512)
    layers: int = 2
    groups: int = 32
    eps: float = 1e-6
    scale: float = 0.4110932946205139

    @property
    def factor(self) -> int:
        """How many mel frames (and bins) make one latent frame (and bin)."""
        return 2 ** (len(self.channels) - 1)


@dataclass(frozen=True)
class HiFiGANConfig:
    """HiFi-GAN generator. `normalize` subtracts the stored mean and divides by the stored scale."""

    mels: int = 64
    sample_rate: int = 16000
    channels: int = 1024
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1
    normalize: bool = False

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        product = 1
        for rate in self.rates:
            product *= rate
        return product


@dataclass(frozen=True)
class ScheduleConfig:
    """The forward process: variances linear in their square root (arXiv 2112.10752)."""

    train_steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    steps_offset: int = 1


@dataclass(frozen=True)
class Convention:
    """How published weights are read where the authors' code and diffusers differ.

    heads_from_width: heads of 32 channels at every level (as trained), against the config's number.
    zero_loa: the unconditional LOA is zeros when no negative prompt is given.
    own_positions: GPT-2 counts positions over a prompt's own tokens, as if it came alone, against
        the longest prompt of the batch.
    cut_negative: negative texts are cut to the longest prompt's number of tokens.
    text_eps: epsilon of the CLAP text tower's layer norms; None keeps the config's.
    whole_grid: a duration is int(seconds * 25.6) latent frames and the waveform is not cut, against
        a grid rounded up and a waveform cut to the asked length.
    """

    name: str
    heads_from_width: bool
    zero_loa: bool
    own_positions: bool
    cut_negative: bool
    text_eps: float | None
    whole_grid: bool


CONVENTIONS = {
    "authors": Convention("authors", True, True, True, False, 1e-5, True),
    "diffusers": Convention("diffusers", False, False, False, True, None, False),
}


@dataclass(frozen=True)
class AudioLDM2Config:
    """All parts of one AudioLDM 2 checkpoint."""

    clap: CLAPConfig = field(default_factory=CLAPConfig)
    t5: T5Config = field(default_factory=T5Config)
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)
    gpt2: GPT2Config = field(default_factory=GPT2Config)
    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    vocoder: HiFiGANConfig = field(default_factory=HiFiGANConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)


def audioldm2_base() -> AudioLDM2Config:
    """`cvssp/audioldm2`: 1.1 G parameters."""
    return AudioLDM2Config()


def audioldm2_music() -> AudioLDM2Config:
    """`cvssp/audioldm2-music`: base's architecture, trained on music."""
    return audioldm2_base()


def audioldm2_large() -> AudioLDM2Config:
    """`cvssp/audioldm2-large`: 1.5 G parameters; a fourth transformer and twice the depth."""
    unet = UNetConfig(contexts=((None, 768, 1024, None),) * 4, depths=(2, 2, 2, 2))
    return dataclasses.replace(audioldm2_base(), unet=unet)


def tiny() -> AudioLDM2Config:
    """Every part in a few thousand parameters, for tests and the untrained demo."""
    return AudioLDM2Config(
        clap=CLAPConfig(
            text=RobertaConfig(vocab=600, width=32, depth=2, heads=4, hidden=64, positions=514),
            audio=HTSATConfig(
                image=64, mels=16, embed=16, depths=(2, 2), heads=(2, 4), window=4, eps=1e-5
            ),
            mel=ClapMelConfig(mels=16, hop=1920, fft=2048),
            width=24,
        ),
        t5=T5Config(vocab=600, width=32, depth=2, heads=4, head_width=8, hidden=48),
        projection=ProjectionConfig(clap_width=24, text_width=32, width=32),
        gpt2=GPT2Config(vocab=64, width=32, depth=2, heads=4, hidden=128, positions=256),
        unet=UNetConfig(
            channels=(32, 64),
            layers=1,
            attention=(False, True),
            contexts=((None, 32, 32),) * 2,
            depths=(1, 1),
            heads=(1, 2),
            groups=16,
            sample_size=256,
        ),
        vae=VAEConfig(channels=(16, 32, 32), layers=1, groups=8),
        vocoder=HiFiGANConfig(
            channels=64, block_kernels=(3, 7), dilations=((1, 3), (1, 3)), kernels=(16, 16, 8, 4, 4)
        ),
    )


PRESETS = {
    "base": audioldm2_base,
    "large": audioldm2_large,
    "music": audioldm2_music,
    "tiny": tiny,
}

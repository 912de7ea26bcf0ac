"""Frozen configurations of every part.

Defaults are the published values of AudioLDM 2 base (arXiv 2308.05734 and the public hub configs).
"""

from __future__ import annotations

import math
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
    """CLAP's audio tower: HTSAT base, a Swin transformer over the log-mel image.

    fusion: for clips that are too long, it also reads three local crops. squeeze: factor by which
    the fusion's attention reduces its channels.
    """

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
    fusion: bool = False
    squeeze: int = 4

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return self.embed * 2 ** (len(self.depths) - 1)


@dataclass(frozen=True)
class ClapMelConfig:
    """CLAP's log-mel front end. Rates in Hz, lengths in samples.

    seconds: length of the clip, a whole number, since transformers indexes with seconds * rate.
    fusion: a longer clip becomes four images (the whole, three crops); False cuts it to one.
    """

    sample_rate: int = 48000
    fft: int = 1024
    hop: int = 480
    mels: int = 64
    low: float = 50.0
    high: float = 14000.0
    seconds: int = 10
    padding: str = "repeatpad"
    fusion: bool = False

    @property
    def samples(self) -> int:
        """Samples of a clip as long as CLAP reads."""
        return self.seconds * self.sample_rate


@dataclass(frozen=True)
class CLAPConfig:
    """Contrastive language-audio pretraining: both towers and the shared space's `width`.

    `audio` and `mel` are None where a checkpoint holds the text tower alone; `scales` says whether
    it holds the learned temperatures.
    """

    text: RobertaConfig = field(default_factory=RobertaConfig)
    audio: HTSATConfig | None = field(default_factory=HTSATConfig)
    mel: ClapMelConfig | None = field(default_factory=ClapMelConfig)
    width: int = 512
    scales: bool = True


@dataclass(frozen=True)
class T5Config:
    """T5's encoder: FLAN-T5 large. gated: whether feed-forwards are; T5 1.0's are not."""

    vocab: int = 32128
    width: int = 1024
    depth: int = 24
    heads: int = 16
    head_width: int = 64
    hidden: int = 2816
    buckets: int = 32
    distance: int = 128
    activation: str = "gelu_new"
    gated: bool = True
    eps: float = 1e-6


@dataclass(frozen=True)
class PhonemeConfig:
    """VITS' text encoder (arXiv 2106.06103), reading phonemes for speech."""

    vocab: int = 183
    width: int = 192
    depth: int = 6
    heads: int = 2
    hidden: int = 768
    kernel: int = 3
    window: int = 4
    eps: float = 1e-5


@dataclass(frozen=True)
class ProjectionConfig:
    """Joins CLAP and the text (or phonemes) into GPT-2's input sequence.

    positions: length of the learned position table over phonemes; 0 for text, which has none.
    """

    clap_width: int = 512
    text_width: int = 1024
    width: int = 768
    positions: int = 0


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
    """T-UNet of up to two context streams.

    contexts: for each level, the width of each transformer's context, None for self-attention; see
    `stream_of`. attention: the levels with transformers. heads: of each level. film: width of the
    vector that conditions every residual block (CLAP's, in AudioLDM), 0 for none.
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
    film: int = 0

    @staticmethod
    def stream_of(transformer: int) -> int:
        """The context stream that a level's n-th transformer reads: LOA (0) or text states (1).

        The rule is that of diffusers' AudioLDM2UNet2DConditionModel.
        """
        return 0 if transformer <= 1 else 1

    @property
    def plain(self) -> bool:
        """AudioLDM's own: one self-attending transformer behind each residual block, and FiLM."""
        return self.film > 0 and all(level == (None,) for level in self.contexts)


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
class PANNsConfig:
    """PANNs' Cnn14 at 16 kHz: front end, blocks, embedding and classes. Rates in Hz.

    labels: the classes' names, where they are known.
    """

    sample_rate: int = 16000
    fft: int = 512
    hop: int = 160
    mels: int = 64
    low: float = 50.0
    high: float = 8000.0
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    width: int = 2048
    classes: int = 527
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class VGGishConfig:
    """VGGish (arXiv 1609.09430): widths of its convolutions by stage, of hidden layers, and of its
    embeddings. Its front end is fixed: `features.vggish`.
    """

    stages: tuple[tuple[int, ...], ...] = ((64,), (128,), (256, 256), (512, 512))
    hidden: tuple[int, ...] = (4096, 4096)
    width: int = 128


@dataclass(frozen=True)
class MusicNNConfig:
    """MusicNN (arXiv 1909.06654), a tagger of music; its front end is fixed: `features.musicnn`.

    timbral: (mel bins, channels) of each convolution over time and frequency; temporal: (frames,
    channels) of each over time. middle: channels of the three residual convolutions. width: of the
    last hidden layer. labels: the classes' names, where they are known.
    """

    timbral: tuple[tuple[int, int], ...] = ((38, 204), (67, 204))
    temporal: tuple[tuple[int, int], ...] = ((128, 51), (64, 51), (32, 51))
    middle: int = 64
    width: int = 200
    classes: int = 50
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class HiFiGANConfig:
    """HiFi-GAN generator. `normalize` subtracts the stored mean and divides by the stored scale.

    griffin_lim: steps of fast Griffin-Lim after the generator; of our models, of no published one.
    griffin_lim_noise: strength of the noise that its start adds to the generator's phases, whose
    strength is 1: a small generator turns noise into pulses (docs/nano.md).
    """

    mels: int = 64
    sample_rate: int = 16000
    channels: int = 1024
    rates: tuple[int, ...] = (5, 4, 2, 2, 2)
    kernels: tuple[int, ...] = (16, 16, 8, 4, 4)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    slope: float = 0.1
    normalize: bool = False
    griffin_lim: int = 0
    griffin_lim_noise: float = 2.0

    @property
    def hop(self) -> int:
        """Samples per mel frame."""
        product = 1
        for rate in self.rates:
            product *= rate
        return product


@dataclass(frozen=True)
class SolverConfig:
    """A scheduler file's entries for its solver, by diffusers' names (`docs/samplers.md`).

    solver_type: UniPC reads "midpoint" as its bh2. clip_sample, thresholding, use_flow_sigmas: no
    sampler follows them; those that would have to refuse them by name.
    """

    solver_order: int = 2
    algorithm_type: str = "dpmsolver++"
    solver_type: str = "midpoint"
    lower_order_final: bool = True
    euler_at_final: bool = False
    final_sigmas_type: str = "zero"
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    use_lu_lambdas: bool = False
    use_flow_sigmas: bool = False
    sigma_min: float | None = None
    sigma_max: float | None = None
    lambda_min_clipped: float = -math.inf
    interpolation_type: str = "linear"
    timestep_type: str = "discrete"
    predict_x0: bool = True
    disable_corrector: tuple[int, ...] = ()
    skip_prk_steps: bool = False
    set_alpha_to_one: bool = False
    variance_type: str = "fixed_small"
    clip_sample: bool = False
    thresholding: bool = False


@dataclass(frozen=True)
class ScheduleConfig:
    """The forward process (arXiv 2006.11239), what the U-Net predicts, and how it is sampled.

    The defaults are those of the published models. trained_betas: one beta for each of
    `train_steps`, instead of beta_schedule. prediction_type: epsilon, v_prediction or sample.
    sampler: the default sampler, a name of `diffusion.registry`.
    """

    train_steps: int = 1000
    beta_start: float = 0.0015
    beta_end: float = 0.0195
    steps_offset: int = 1
    sampler: str = "dpm++2m"
    beta_schedule: str = "scaled_linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: str = "leading"
    solver: SolverConfig = SolverConfig()


@dataclass(frozen=True)
class AudioMAEConfig:
    """AudioMAE's encoder (arXiv 2207.06405): a ViT over 1024 x 128 filter banks.

    The LOA is the mean of the normalised outputs of the last `averaged` blocks.
    """

    frames: int = 1024
    bins: int = 128
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    eps: float = 1e-6
    averaged: int = 3

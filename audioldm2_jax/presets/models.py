"""Whole models: the parts of every published checkpoint, and tiny twins for tests and the demo."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from audioldm2_jax.presets.parts import (
    AudioMAEConfig,
    CLAPConfig,
    ClapMelConfig,
    GPT2Config,
    HiFiGANConfig,
    HTSATConfig,
    PhonemeConfig,
    ProjectionConfig,
    RobertaConfig,
    ScheduleConfig,
    T5Config,
    UNetConfig,
    VAEConfig,
)


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of a latent diffusion model, one field per part; None if it has no such.

    family: audioldm2: CLAP and T5 (for speech: phonemes) -> GPT-2 -> LOA -> U-Net.
        audioldm, musicldm: CLAP's vector conditions the U-Net's residual blocks.
        audioldm_t5: the U-Net attends to T5's states; CLAP only ranks candidates.
        tango: the U-Net attends to T5's states.
    audiomae: gives the LOA that training predicts; generation does not need it.

    Families of another shape have a configuration class of their own (`checkpoints.families`).
    """

    family: str = "audioldm2"
    clap: CLAPConfig | None = field(default_factory=CLAPConfig)
    t5: T5Config | None = field(default_factory=T5Config)
    phonemes: PhonemeConfig | None = None
    projection: ProjectionConfig | None = field(default_factory=ProjectionConfig)
    gpt2: GPT2Config | None = field(default_factory=GPT2Config)
    unet: UNetConfig = field(default_factory=UNetConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    vocoder: HiFiGANConfig = field(default_factory=HiFiGANConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    audiomae: AudioMAEConfig | None = None

    @property
    def has_audio_tower(self) -> bool:
        """Whether CLAP can embed audio, as candidate ranking needs."""
        return self.clap is not None and self.clap.audio is not None


# 48 kHz: 256 mel bins, 16 latent channels, a VAE of 8x.
_VAE_48K = VAEConfig(latent_channels=16, channels=(128, 256, 512, 1024), scale=1.0)
_VOCODER_48K = HiFiGANConfig(
    mels=256,
    sample_rate=48000,
    channels=1536,
    rates=(6, 5, 4, 2, 2),
    kernels=(12, 10, 8, 4, 4),
    block_kernels=(3, 7, 11, 15),
    dilations=((1, 3, 5),) * 4,
)
_HTSAT_TINY = HTSATConfig(embed=96, depths=(2, 2, 6, 2))


def audioldm2_base() -> ModelConfig:
    """`cvssp/audioldm2`: 1.1 G parameters."""
    return ModelConfig()


def audioldm2_music() -> ModelConfig:
    """`cvssp/audioldm2-music`: base's architecture, trained on music."""
    return audioldm2_base()


def audioldm2_large() -> ModelConfig:
    """`cvssp/audioldm2-large`: 1.5 G parameters; a fourth transformer and twice the depth."""
    unet = UNetConfig(contexts=((None, 768, 1024, None),) * 4, depths=(2, 2, 2, 2))
    return dataclasses.replace(audioldm2_base(), unet=unet)


def audioldm2_speech() -> ModelConfig:
    """LJSpeech and GigaSpeech: phonemes in place of T5, 512 LOA vectors, one context stream."""
    return ModelConfig(
        t5=None,
        phonemes=PhonemeConfig(),
        projection=ProjectionConfig(text_width=192, positions=310),
        gpt2=GPT2Config(tokens=512),
        unet=UNetConfig(contexts=((None, 768),) * 4),
    )


def _film(family: str, unet: UNetConfig, clap: CLAPConfig, **parts) -> ModelConfig:
    """A model conditioned by CLAP's vector alone."""
    return ModelConfig(family, clap=clap, t5=None, projection=None, gpt2=None, unet=unet, **parts)


def _audioldm(channels: int, per_head: int, htsat: HTSATConfig) -> ModelConfig:
    widths = tuple(channels * m for m in (1, 2, 3, 5))
    unet = UNetConfig(
        channels=widths,
        contexts=((None,),) * 4,
        heads=tuple(w // per_head for w in widths),
        film=512,
    )
    clap = CLAPConfig(audio=htsat, scales=False)
    return _film("audioldm", unet, clap, vae=VAEConfig(scale=0.9227914214134216))


def audioldm_s() -> ModelConfig:
    """`cvssp/audioldm-s-full-v2` and its kin."""
    return _audioldm(128, 32, _HTSAT_TINY)


def audioldm_m() -> ModelConfig:
    """`cvssp/audioldm-m-full`: its CLAP has the audio tower HTSAT base."""
    return _audioldm(192, 32, HTSATConfig())


def audioldm_l() -> ModelConfig:
    """`cvssp/audioldm-l-full`: heads of 64 channels."""
    return _audioldm(256, 64, _HTSAT_TINY)


def audioldm_48k() -> ModelConfig:
    """`audioldm_48k`: AudioLDM at 48 kHz, with AudioLDM 2's second self-attention."""
    unet = UNetConfig(16, 16, contexts=((None, None),) * 4, film=512, sample_size=128)
    clap = CLAPConfig(scales=False)
    return _film("audioldm", unet, clap, vae=_VAE_48K, vocoder=_VOCODER_48K)


def audioldm_t5() -> ModelConfig:
    """`audioldm_16k_crossattn_t5`: FLAN-T5 alone, by cross-attention."""
    unet = UNetConfig(contexts=((None, 1024),) * 4)
    return ModelConfig("audioldm_t5", projection=None, gpt2=None, unet=unet)


# Stable Diffusion 2.1's U-Net over AudioLDM's latents, and its schedule, as the DDPM sampler of
# TANGO's time reads it: without an offset.
TANGO_UNET = UNetConfig(
    channels=(320, 640, 1280, 1280),
    attention=(True, True, True, False),
    contexts=((1024,),) * 4,
    heads=(5, 10, 20, 20),
)
TANGO_SCHEDULE = ScheduleConfig(
    beta_start=0.00085,
    beta_end=0.012,
    steps_offset=0,
    sampler="ddpm",
    prediction_type="v_prediction",
)


def tango() -> ModelConfig:
    """`declare-lab/tango` and `tango2` (arXiv 2304.13731, 2404.09956): FLAN-T5, v-prediction."""
    vae = VAEConfig(scale=0.9227914214134216)
    none = {"clap": None, "projection": None, "gpt2": None}
    return ModelConfig("tango", unet=TANGO_UNET, vae=vae, schedule=TANGO_SCHEDULE, **none)


def musicldm() -> ModelConfig:
    """`ucsd-reach/musicldm`: AudioLDM's architecture, trained on music."""
    return _film("musicldm", audioldm_s().unet, CLAPConfig())


def nano() -> ModelConfig:
    """The embedded model: clips of 2.56 s, every part small, trained by `configs/nano/`.

    CLAP reads 2 s: 201 frames, stretched to 256, as the published one stretches 1001 to 1024.
    """
    width = 192
    return ModelConfig(
        clap=CLAPConfig(
            text=RobertaConfig(
                vocab=1000, width=width, depth=4, heads=6, hidden=512, positions=82, eps=1e-5
            ),
            audio=HTSATConfig(image=128, embed=32, depths=(2, 2, 4), heads=(2, 4, 8), eps=1e-5),
            mel=ClapMelConfig(seconds=2),
            width=width,
        ),
        t5=T5Config(vocab=1000, width=width, depth=4, heads=6, head_width=32, hidden=512),
        projection=ProjectionConfig(clap_width=width, text_width=width, width=width),
        gpt2=GPT2Config(vocab=64, width=width, depth=4, heads=6, hidden=768, positions=256),
        unet=UNetConfig(
            channels=(64, 96, 128),
            layers=1,
            attention=(False, True, True),
            contexts=((None, width, width),) * 3,
            depths=(1, 1, 1),
            heads=(2, 3, 4),
            groups=16,
            sample_size=32,
        ),
        vae=VAEConfig(channels=(16, 24, 48, 96), layers=1, groups=8),
        # Three stages in place of five: channels stay wide enough where most samples are.
        vocoder=HiFiGANConfig(
            channels=128,
            rates=(8, 5, 4),
            kernels=(16, 11, 8),
            block_kernels=(3, 7),
            dilations=((1, 3), (1, 3)),
            griffin_lim=8,
        ),
        audiomae=AudioMAEConfig(frames=256, width=width, depth=6, heads=6, hidden=768),
        schedule=ScheduleConfig(sampler="dpm++2m-sde"),
    )


def nano_speech() -> ModelConfig:
    """The embedded model's speech: its CLAP, VAE, AudioMAE and vocoder; 128 LOA vectors."""
    sound, width = nano(), 192
    return dataclasses.replace(
        sound,
        t5=None,
        phonemes=PhonemeConfig(width=128, depth=3, heads=2, hidden=512),
        projection=ProjectionConfig(width, text_width=128, width=width, positions=60),
        gpt2=dataclasses.replace(sound.gpt2, tokens=128),
        unet=dataclasses.replace(
            sound.unet, channels=(48, 64, 96), heads=(1, 2, 3), contexts=((None, width),) * 3
        ),
    )


def nano_audioldm() -> ModelConfig:
    """The study's model: the embedded one's CLAP, VAE and vocoder, and a U-Net that reads CLAP."""
    sound = nano()
    unet = dataclasses.replace(
        sound.unet,
        channels=(48, 64, 96),
        contexts=((None,),) * 3,
        heads=(1, 2, 3),
        film=sound.clap.width,
    )
    parts = {"vae": sound.vae, "vocoder": sound.vocoder, "schedule": sound.schedule}
    return _film("audioldm", unet, sound.clap, **parts)


def tiny() -> ModelConfig:
    """Every part of AudioLDM 2 in a few thousand parameters, for tests and the untrained demo."""
    return ModelConfig(
        clap=_tiny_clap(),
        t5=T5Config(vocab=600, width=32, depth=2, heads=4, head_width=8, hidden=48),
        projection=ProjectionConfig(clap_width=24, text_width=32, width=32),
        gpt2=GPT2Config(vocab=64, width=32, depth=2, heads=4, hidden=128, positions=256),
        unet=_tiny_unet(((None, 32, 32),) * 2),
        vae=VAEConfig(channels=(16, 32, 32), layers=1, groups=8),
        vocoder=HiFiGANConfig(channels=64, block_kernels=(3, 7), dilations=((1, 3), (1, 3))),
    )


def _tiny_clap(**changes) -> CLAPConfig:
    return CLAPConfig(
        text=RobertaConfig(vocab=600, width=32, depth=2, heads=4, hidden=64, positions=514),
        audio=HTSATConfig(
            image=64, mels=16, embed=16, depths=(2, 2), heads=(2, 4), window=4, eps=1e-5
        ),
        mel=ClapMelConfig(mels=16, hop=1920, fft=2048),
        **{"width": 24} | changes,
    )


def _tiny_unet(contexts, **changes) -> UNetConfig:
    shape = {"channels": (32, 64), "layers": 1, "attention": (False, True), "heads": (1, 2)}
    shape |= {"contexts": contexts, "depths": (1, 1), "groups": 16}
    return UNetConfig(**shape | changes)


def tiny_speech() -> ModelConfig:
    """Tiny AudioLDM 2 for speech."""
    return dataclasses.replace(
        tiny(),
        t5=None,
        phonemes=PhonemeConfig(width=24, depth=2, heads=2, hidden=48),
        projection=ProjectionConfig(clap_width=24, text_width=24, width=32, positions=60),
        gpt2=dataclasses.replace(tiny().gpt2, tokens=12),
        unet=_tiny_unet(((None, 32),) * 2),
    )


def tiny_audioldm() -> ModelConfig:
    """Tiny AudioLDM."""
    base, unet = tiny(), _tiny_unet(((None,),) * 2, film=24)
    return _film("audioldm", unet, _tiny_clap(scales=False), vae=base.vae, vocoder=base.vocoder)


def tiny_48k() -> ModelConfig:
    """Tiny AudioLDM at 48 kHz."""
    return _film(
        "audioldm",
        _tiny_unet(((None, None),) * 2, film=24, in_channels=16, out_channels=16, sample_size=128),
        _tiny_clap(scales=False),
        vae=VAEConfig(latent_channels=16, channels=(16, 32, 32, 32), layers=1, groups=8, scale=0.7),
        vocoder=dataclasses.replace(_VOCODER_48K, channels=64, mels=32, dilations=((1, 3),) * 4),
    )


def tiny_t5() -> ModelConfig:
    """Tiny AudioLDM with T5 by cross-attention."""
    unet = _tiny_unet(((None, 32),) * 2)
    return dataclasses.replace(tiny(), family="audioldm_t5", projection=None, gpt2=None, unet=unet)


def tiny_tango() -> ModelConfig:
    """Tiny TANGO."""
    base = tiny()
    unet = _tiny_unet(((32,),) * 2)
    return dataclasses.replace(tango(), t5=base.t5, unet=unet, vae=base.vae, vocoder=base.vocoder)


def tiny_musicldm() -> ModelConfig:
    """Tiny MusicLDM."""
    base = tiny_audioldm()
    return dataclasses.replace(base, family="musicldm", clap=_tiny_clap())


PRESETS = {
    "base": audioldm2_base,
    "large": audioldm2_large,
    "music": audioldm2_music,
    "speech": audioldm2_speech,
    "audioldm-s": audioldm_s,
    "audioldm-m": audioldm_m,
    "audioldm-l": audioldm_l,
    "audioldm-48k": audioldm_48k,
    "audioldm-t5": audioldm_t5,
    "musicldm": musicldm,
    "tango": tango,
    "nano": nano,
    "nano-speech": nano_speech,
    "nano-audioldm": nano_audioldm,
    "tiny": tiny,
    "tiny-speech": tiny_speech,
    "tiny-audioldm": tiny_audioldm,
    "tiny-48k": tiny_48k,
    "tiny-t5": tiny_t5,
    "tiny-musicldm": tiny_musicldm,
    "tiny-tango": tiny_tango,
}

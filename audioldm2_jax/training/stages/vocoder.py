"""HiFi-GAN against five periods and three scales, with features and mel (arXiv 2010.05646)."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import log_mel, mel_config
from audioldm2_jax.losses import adversarial, spectral
from audioldm2_jax.models.discriminators import WaveDiscriminators
from audioldm2_jax.models.hifigan import HiFiGAN
from audioldm2_jax.training import weight_norm
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import (
    BatchSpec,
    ClipSamples,
    Loss,
    Stage,
    StageInfo,
    StageSpec,
    TrainableGroup,
)

# Periods alone: narrow grouped convolutions at the full rate cost a CPU 20 times as much.
SMALL = WaveDiscriminators((2, 3, 5, 7), (16, 32, 64, 64, 64), scales=0)
# Statistics of the mel spectrogram, which published vocoders hold.
_STATISTICS = (r"vocoder/(mean|scale)$",)


@dataclass(frozen=True)
class VocoderSettings(StageSettings):
    """segment: samples of each clip in a step; mel_weight: of the mel distance; stft_weight: of
    magnitudes at several resolutions, which the paper does not have; adversarial_weight: of the
    discriminators' scores and features, 0 for no discriminators.
    """

    segment: int = setting(8192, 1)
    mel_weight: float = setting(45.0, 0)
    stft_weight: float = setting(0.0, 0)
    adversarial_weight: float = setting(1.0, 0)
    small_discriminators: bool = setting(False, needs=("adversarial_weight", bool))

    @property
    def discriminators(self) -> WaveDiscriminators:
        """HiFi-GAN's discriminators, or smaller ones for a CPU."""
        return SMALL if self.small_discriminators else WaveDiscriminators()


def crop(settings: VocoderSettings, batch: dict, keys):
    """A random segment of each clip: [B, segment]."""
    waves, size = batch["waveform"], settings.segment

    def one(wave, key):
        start = jax.random.randint(key, (), 0, wave.shape[0] - size + 1)
        return jax.lax.dynamic_slice_in_dim(wave, start, size)

    return jax.vmap(one)(waves, keys)


def generate(settings: VocoderSettings, params: dict, batch: dict, keys):
    """(true segment [B, samples], its mel, the generator's waveform of that mel)."""
    wave = crop(settings, batch, keys)
    mel = log_mel(wave, mel_config(settings.model.vocoder))
    network = HiFiGAN(settings.model.vocoder, settings.dtype, settings.remat)
    output = network.apply({"params": weight_norm.merge(params["vocoder"])}, mel)
    length = min(wave.shape[1], output.shape[1])
    return wave[:, :length], mel, output[:, :length]


def generator_loss(settings: VocoderSettings) -> Loss:
    """Mel distance, optional magnitudes, and the discriminators' judgement."""

    def loss(params, frozen, batch, keys, step):
        wave, mel, output = generate(settings, params, batch, keys)
        output_mel = log_mel(output, mel_config(settings.model.vocoder))
        frames = min(mel.shape[1], output_mel.shape[1])
        distance = jnp.abs(mel[:, :frames] - output_mel[:, :frames]).mean()
        value, metrics = settings.mel_weight * distance, {"mel": distance}
        if settings.stft_weight:
            metrics["spectra"] = spectral.multi_resolution_stft(output, wave)
            value = value + settings.stft_weight * metrics["spectra"]
        if settings.adversarial_weight:
            network = {"params": jax.lax.stop_gradient(params["discriminators"])}
            real = settings.discriminators.apply(network, wave)
            fake = settings.discriminators.apply(network, output)
            matching = adversarial.feature_matching([f for _, f in real], [f for _, f in fake])
            score = adversarial.least_squares_generator([score for score, _ in fake])
            value = value + settings.adversarial_weight * (score + matching)
            metrics |= {"features": matching, "adversarial": score}
        return value, metrics

    return loss


def discriminator_loss(settings: VocoderSettings) -> Loss:
    """Least squares: 1 for true segments, 0 for generated ones."""

    def loss(params, frozen, batch, keys, step):
        wave, _, output = generate(settings, jax.lax.stop_gradient(params), batch, keys)
        # Each real clip beside its fake: one pass over the kernels, and no clip leaves its device.
        pairs = jnp.stack([wave, output], 1).reshape(-1, wave.shape[1])
        results = settings.discriminators.apply({"params": params["discriminators"]}, pairs)
        scores = [score.reshape(len(wave), 2, -1) for score, _ in results]
        real, fake = [s[:, 0] for s in scores], [s[:, 1] for s in scores]
        return adversarial.least_squares_discriminator(real, fake), {}

    return loss


def build(settings: VocoderSettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model, segment = settings.model, settings.segment
    samples = int(settings.seconds * model.vocoder.sample_rate)
    if segment > samples:
        raise InputError(f"settings.segment is {segment}: a clip has {samples} samples; lower it")
    generator = init_part("vocoder", model.vocoder)
    inits, groups = {"vocoder": lambda key: weight_norm.unmerge(generator(key))}, {}
    if settings.adversarial_weight:
        wave, networks = jnp.zeros((1, segment)), settings.discriminators
        inits["discriminators"] = lambda key: networks.init(key, wave)["params"]
        loss = discriminator_loss(settings)
        groups["discriminator"] = TrainableGroup(("discriminators",), loss, optim)
    loss = generator_loss(settings)
    groups["generator"] = TrainableGroup(("vocoder",), loss, optim, _STATISTICS)
    return StageSpec(
        Stage("vocoder", init_parts(inits), groups),
        BatchSpec(mel_config(model.vocoder).sample_rate, settings.seconds),
        init_from_base=("vocoder",),
        exports=("vocoder",),
        merge=weight_norm.merge,
        unmerge=weight_norm.unmerge,
    )


def restore(config, params, mel):
    """Waveforms of mel spectrograms: [B, T, F] -> [B, samples]."""
    return HiFiGAN(config).apply({"params": params}, mel)


STAGE = StageInfo(
    name="vocoder",
    settings=VocoderSettings,
    build=build,
    trains=(
        "HiFi-GAN with weight norm: five periods, three scales, features, mel; spectra (optional)"
    ),
    samples=ClipSamples("vocoder", restore, is_sound=True),
)

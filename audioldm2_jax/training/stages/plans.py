"""Plans: a stage with its surroundings; those of the stages that train one network on sound."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.checkpoints import lpips
from audioldm2_jax.checkpoints.parts import SINGLES
from audioldm2_jax.errors import InputError
from audioldm2_jax.features.mel import mel_config
from audioldm2_jax.models.discriminators import WaveDiscriminators
from audioldm2_jax.presets import AudioMAEConfig, ModelConfig, PANNsConfig
from audioldm2_jax.training.stage import Player, Stage
from audioldm2_jax.training.stages import audiomae, clap, tagger, vae, vocoder
from audioldm2_jax.training.weight_norm import fold, split

# AudioMAE's positions are a table; statistics of batch norms follow their batches.
_TABLES = (r"/positions$",)
_STATISTICS = (r"/(mean|variance)$",)


@dataclass(frozen=True)
class Reads:
    """What a stage reads of a clip: Hz of the waveform, CLAP's copy, texts, labels, the LOA's
    poolings where the clip is encoded already.
    """

    sample_rate: int
    clap: bool = False
    texts: tuple[str, ...] = ()
    labels: bool = False
    loa: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A stage with its surroundings.

    frozen: parts of the start's checkpoint that it needs; begin: parts that may begin with the
    start's weights; exports: which trained parts a checkpoint has; fold: a part's parameters as a
    checkpoint has them, unfold: its inverse; alone: configuration of a part that no checkpoint that
    generates has; extra: makes frozen parameters that are not of the start; adapts: frozen parts
    that low-rank changes are of; drops: captions are dropped, for which a frozen CLAP or T5 reads
    "" (`encoders.unconditional`).
    """

    stage: Stage
    reads: Reads
    frozen: tuple[str, ...] = ()
    begin: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    fold: Callable[[dict], dict] = lambda params: params
    unfold: Callable[[dict], dict] = lambda params: params
    alone: Any = None
    extra: Callable[[], dict] = dict
    adapts: tuple[str, ...] = ()
    drops: bool = False


def initial(part: str, config):
    """Fresh parameters of a checkpoint's part."""
    made = SINGLES[part]

    def init(key):
        return made.model(config).init(key, *made.inputs(config))["params"]

    return init


def init_of(makers: Mapping[str, Callable]) -> Callable:
    """(key, parts to leave out) -> parameters by part.

    Compiled functions are traced once for all that ask for shapes.
    """

    @functools.partial(jax.jit, static_argnums=1)
    def init(key, without=()):
        keys = jax.random.split(key, len(makers))
        drawn = zip(makers.items(), keys)
        return {name: make(k) for (name, make), k in drawn if name not in without}

    return init


def reads_of(model: ModelConfig, **more) -> Reads:
    return Reads(mel_config(model.vocoder).sample_rate, **more)


def as_tuples(settings: dict) -> dict:
    """Sequences as tuples: settings are part of compiled functions' identity."""
    return {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in settings.items()}


def plan_audiomae(model, optim, settings, dtype) -> Plan:
    config = model.audiomae or AudioMAEConfig()
    masked = audiomae.Masked(config, dtype=dtype, **settings)
    if masked.decoder_width % masked.decoder_heads:
        raise InputError("settings.decoder_width: it must be a multiple of settings.decoder_heads")

    def decoder(key):
        tokens = jnp.zeros((1, 1 + masked.kept, config.width))
        total = (config.frames // config.patch) * (config.bins // config.patch)
        inverse = jnp.zeros((1, total), jnp.int32)
        return masked.decoder.init(key, tokens, inverse)["params"]

    makers = {"audiomae": initial("audiomae", config), "decoder": decoder}
    player = Player(("audiomae", "decoder"), audiomae.masked_loss(masked), optim, _TABLES)
    stage = Stage("audiomae", init_of(makers), {"model": player})
    return Plan(stage, Reads(16000), begin=("audiomae",), exports=("audiomae",))


def plan_clap(model, optim, settings, dtype) -> Plan:
    if not model.has_audio_tower:
        raise InputError("stage clap: the model has no CLAP audio tower to train")
    config = dataclasses.replace(model.clap, scales=True)
    contrast = clap.Contrast(config, dtype=dtype, **settings)
    loss = clap.contrastive_loss(contrast)
    measure = clap.contrastive_loss(dataclasses.replace(contrast, train=False))
    player = Player(("clap",), loss, optim, (r"norm_mel/(mean|variance)$",), measure)

    def init(key):
        params = initial("clap", config)(key)
        scale = jnp.log(jnp.float32(1 / 0.07))
        return params | {f"{tower}_logit_scale": scale for tower in ("text", "audio")}

    stage = Stage("clap", init_of({"clap": init}), {"model": player})
    reads = Reads(16000, clap=True, texts=("clap",))
    return Plan(stage, reads, begin=("clap",), exports=("clap",))


def plan_vae(model, optim, settings, dtype) -> Plan:
    files = settings.pop("perceptual_weights", "")
    auto = vae.Autoencoder(model, dtype=dtype, **settings)
    if auto.perceptual and not files:
        raise InputError("perceptual: name VGG16's and LPIPS' files by settings.perceptual_weights")
    mels = mel_config(model.vocoder).mels
    makers = {"vae": initial("vae", model.vae)}
    # The reference moves the discriminator first, on the same reconstruction.
    players = {}
    if auto.adversarial:
        makers["discriminator"] = lambda key: auto.discriminator.init(
            key, jnp.zeros((1, 32, mels))
        )["params"]
        players["discriminator"] = Player(("discriminator",), vae.discriminator_loss(auto), optim)
    players["generator"] = Player(("vae",), vae.generator_loss(auto), optim)
    stage = Stage("vae", init_of(makers), players, ema=("vae",))
    extra = (lambda: {"lpips": lpips.load(files)}) if auto.perceptual else dict
    return Plan(stage, reads_of(model), extra=extra, begin=("vae",), exports=("vae",))


def plan_vocoder(model, optim, settings, dtype) -> Plan:
    small = settings.pop("small", False)
    judges = WaveDiscriminators()
    if small:
        # By periods alone: narrow grouped convolutions at the full rate cost a CPU 20 times that.
        judges = WaveDiscriminators((2, 3, 5, 7), (16, 32, 64, 64, 64), scales=0)
    made = vocoder.Vocoder(model, discriminators=judges, dtype=dtype, **settings)
    makers = {"vocoder": lambda key: split(initial("vocoder", model.vocoder)(key))}
    players = {}
    if made.adversarial:
        wave = jnp.zeros((1, made.segment))
        makers["discriminators"] = lambda key: judges.init(key, wave)["params"]
        loss = vocoder.discriminator_loss(made)
        players["discriminator"] = Player(("discriminators",), loss, optim)
    loss, fixed = vocoder.generator_loss(made), (r"vocoder/(mean|scale)$",)
    players["generator"] = Player(("vocoder",), loss, optim, fixed)
    stage = Stage("vocoder", init_of(makers), players)
    return Plan(
        stage,
        reads_of(model),
        begin=("vocoder",),
        exports=("vocoder",),
        fold=fold,
        unfold=split,
    )


def plan_tagger(model, optim, settings, dtype) -> Plan:
    labels = settings.pop("classes")
    shape = {k: settings.pop(k) for k in ("channels", "width") if k in settings}
    config = PANNsConfig(classes=len(labels), labels=labels, **as_tuples(shape))
    made = tagger.Tagging(config, dtype=dtype, **settings)
    makers = {"panns": initial("panns", config)}
    measure = tagger.tagging_loss(dataclasses.replace(made, train=False))
    player = Player(("panns",), tagger.tagging_loss(made), optim, _STATISTICS, measure)
    stage = Stage("tagger", init_of(makers), {"model": player})
    reads = Reads(config.sample_rate, labels=True)
    return Plan(stage, reads, exports=("panns",), alone=config)

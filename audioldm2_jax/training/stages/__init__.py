"""The stages by name: what each trains, what it needs frozen, what it reads of a clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax import features
from audioldm2_jax.checkpoints import lpips
from audioldm2_jax.checkpoints.parts import SINGLES
from audioldm2_jax.data.encoders import check
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.discriminators import WaveDiscriminators
from audioldm2_jax.models.layers import REMAT
from audioldm2_jax.presets import AudioMAEConfig, ModelConfig, TaggerConfig
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.stage import Player, Stage
from audioldm2_jax.training.stages import (
    audiomae,
    clap,
    diffusion,
    sequence,
    tagger,
    vae,
    vocoder,
)
from audioldm2_jax.training.weight_norm import fold, split

# AudioMAE's positions are a table; statistics of batch norms follow their batches.
_TABLES = (r"/positions$",)
_STATISTICS = (r"/(mean|variance)$",)
# GPT-2 reads vectors; its table of words is only kept.
_UNUSED = (r"^gpt2/tokens$",)


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
    "" (`encoders.encode_nothing`).
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


def plan(
    name: str,
    model: ModelConfig,
    optim: OptimConfig,
    settings: Mapping[str, Any],
    *,
    seconds: float,
    dtype: Any,
    classes: tuple[str, ...] = (),
    remat: str = "none",
) -> Plan:
    """A stage for a model. remat: see `layers.block_of`.

    Raises InputError for an unknown name or settings that do not fit.
    """
    if name not in STAGES:
        raise InputError(f"stage {name!r}: choose one of {' '.join(STAGES)}")
    if remat not in REMAT or (name == "tagger" and remat != "none"):
        raise InputError(f"remat {remat!r}: choose one of {' '.join(REMAT)}; tagger: none alone")
    make, settings = STAGES[name], dict(settings) | {"remat": remat}
    try:
        if name == "tagger":
            del settings["remat"]
            return make(model, optim, settings | {"classes": classes}, dtype)
        if name != "audiomae" and name != "clap":
            check(model, seconds, ())
        return make(model, optim, settings, dtype)
    except TypeError as error:
        raise InputError(f"settings of {name}: {error}") from None


def _initial(part: str, config):
    """Fresh parameters of a checkpoint's part."""
    made = SINGLES[part]

    def init(key):
        return made.model(config).init(key, *made.inputs(config))["params"]

    return init


def _init(makers: Mapping[str, Callable]) -> Callable:
    """key -> parameters by part. Compiled functions are traced once for all that ask for shapes."""

    @jax.jit
    def init(key):
        keys = jax.random.split(key, len(makers))
        return {name: make(k) for (name, make), k in zip(makers.items(), keys)}

    return init


def _reads(model: ModelConfig, **more) -> Reads:
    return Reads(features.mel_config(model.vocoder).sample_rate, **more)


def _audiomae(model, optim, settings, dtype) -> Plan:
    config = model.audiomae or AudioMAEConfig()
    masked = audiomae.Masked(config, dtype=dtype, **settings)

    def decoder(key):
        tokens = jnp.zeros((1, 1 + masked.kept, config.width))
        total = (config.frames // config.patch) * (config.bins // config.patch)
        inverse = jnp.zeros((1, total), jnp.int32)
        return masked.decoder.init(key, tokens, inverse)["params"]

    makers = {"audiomae": _initial("audiomae", config), "decoder": decoder}
    player = Player(("audiomae", "decoder"), audiomae.masked_loss(masked), optim, _TABLES)
    stage = Stage("audiomae", _init(makers), {"model": player})
    return Plan(stage, Reads(16000), begin=("audiomae",), exports=("audiomae",))


def _clap(model, optim, settings, dtype) -> Plan:
    if not model.ranks:
        raise InputError("stage clap: the model has no CLAP audio tower to train")
    config = dataclasses.replace(model.clap, scales=True)
    contrast = clap.Contrast(config, dtype=dtype, **settings)
    loss = clap.contrastive_loss(contrast)
    measure = clap.contrastive_loss(dataclasses.replace(contrast, train=False))
    player = Player(("clap",), loss, optim, (r"norm_mel/(mean|variance)$",), measure)

    def init(key):
        params = _initial("clap", config)(key)
        scale = jnp.log(jnp.float32(1 / 0.07))
        return params | {f"{tower}_logit_scale": scale for tower in ("text", "audio")}

    stage = Stage("clap", _init({"clap": init}), {"model": player})
    reads = Reads(16000, clap=True, texts=("clap",))
    return Plan(stage, reads, begin=("clap",), exports=("clap",))


def _vae(model, optim, settings, dtype) -> Plan:
    files = settings.pop("perceptual_weights", "")
    auto = vae.Autoencoder(model, dtype=dtype, **settings)
    if auto.perceptual and not files:
        raise InputError("perceptual: name VGG16's and LPIPS' files by settings.perceptual_weights")
    mels = features.mel_config(model.vocoder).mels
    makers = {"vae": _initial("vae", model.vae)}
    # The reference moves the discriminator first, on the same reconstruction.
    players = {}
    if auto.adversarial:
        makers["discriminator"] = lambda key: auto.discriminator.init(
            key, jnp.zeros((1, 32, mels))
        )["params"]
        players["discriminator"] = Player(("discriminator",), vae.discriminator_loss(auto), optim)
    players["generator"] = Player(("vae",), vae.generator_loss(auto), optim)
    stage = Stage("vae", _init(makers), players, ema=("vae",))
    extra = (lambda: {"lpips": lpips.load(files)}) if auto.perceptual else dict
    return Plan(stage, _reads(model), extra=extra, begin=("vae",), exports=("vae",))


def _vocoder(model, optim, settings, dtype) -> Plan:
    small = settings.pop("small", False)
    judges = WaveDiscriminators()
    if small:
        # By periods alone: narrow grouped convolutions at the full rate cost a CPU 20 times that.
        judges = WaveDiscriminators((2, 3, 5, 7), (16, 32, 64, 64, 64), scales=0)
    made = vocoder.Vocoder(model, discriminators=judges, dtype=dtype, **settings)
    makers = {"vocoder": lambda key: split(_initial("vocoder", model.vocoder)(key))}
    players = {}
    if made.adversarial:
        wave = jnp.zeros((1, made.segment))
        makers["discriminators"] = lambda key: judges.init(key, wave)["params"]
        loss = vocoder.discriminator_loss(made)
        players["discriminator"] = Player(("discriminators",), loss, optim)
    loss, fixed = vocoder.generator_loss(made), (r"vocoder/(mean|scale)$",)
    players["generator"] = Player(("vocoder",), loss, optim, fixed)
    stage = Stage("vocoder", _init(makers), players)
    return Plan(
        stage,
        _reads(model),
        begin=("vocoder",),
        exports=("vocoder",),
        fold=fold,
        unfold=split,
    )


def _language(model: ModelConfig, made) -> tuple[str, ...]:
    """Parts that GPT-2 trains with: the projection, the phoneme encoder of speech, T5 if asked."""
    if made.text and not model.t5:
        raise InputError("text: the model has no T5 to train")
    text = ("phonemes",) if model.phonemes else ("t5",) if made.text else ()
    return ("projection", "gpt2", *text)


def _texts(model: ModelConfig, made) -> tuple[str, ...]:
    """Texts that are read; CLAP's only if some vectors are of captions."""
    names = ("clap",) if model.clap and made.audio < 1 else ()
    return names + (("t5",) if model.t5 else ()) + (("phonemes",) if model.phonemes else ())


def _hears(model: ModelConfig, made) -> bool:
    """Whether CLAP hears the clips. Raises InputError if it has no tower for that."""
    if made.audio > 0 and not model.ranks:
        raise InputError(
            "the start has no CLAP audio tower to condition on; use one from the authors' file, "
            "or settings.audio=0"
        )
    return made.audio > 0


def _encoders(model: ModelConfig, made) -> tuple[str, ...]:
    """CLAP and T5, as far as they are frozen."""
    return (("clap",) if model.clap else ()) + (("t5",) if model.t5 and not made.text else ())


def _sequence(model, optim, settings, dtype) -> Plan:
    _needs(model, "sequence", "gpt2", "audiomae")
    made = sequence.Sequence(model, dtype=dtype, **settings)
    parts = _language(model, made)
    makers = {part: _initial(part, getattr(model, part)) for part in parts}
    measure = sequence.sequence_loss(made, held=True)
    player = Player(parts, sequence.sequence_loss(made), optim, _UNUSED, measure)
    stage = Stage("sequence", _init(makers), {"model": player})
    frozen = (*_encoders(model, made), "audiomae")
    reads = _reads(model, clap=_hears(model, made), texts=_texts(model, made), loa=made.poolings)
    return Plan(stage, reads, frozen, parts, parts)


def _needs(model: ModelConfig, stage: str, *parts: str) -> None:
    for part in parts:
        if getattr(model, part) is None:
            raise InputError(f"stage {stage}: the model has no part {part}")


def _pretraining(model, optim, settings, dtype) -> Plan:
    _needs(model, "latent_diffusion", "gpt2", "audiomae")
    settings = {"poolings": (1, 2, 4, 8)} | settings
    made = diffusion.Diffusion(model, dtype=dtype, **_tuples(settings))
    player = Player(("unet",), diffusion.pretraining_loss(made), optim)
    init = _init({"unet": _initial("unet", model.unet)})
    stage = Stage("latent_diffusion", init, {"model": player}, ema=("unet",))
    reads = _reads(model, loa=made.poolings)
    text = ("t5",) if model.t5 else ()
    frozen = ("vae", "audiomae", *text)
    return Plan(stage, reads, frozen, ("unet",), ("unet",), drops=bool(text))


def _conditioned(model, optim, settings, dtype) -> Plan:
    made = diffusion.Diffusion(model, dtype=dtype, **settings)
    player = Player(("unet",), diffusion.conditioned_loss(made), optim)
    init = _init({"unet": _initial("unet", model.unet)})
    stage = Stage("audioldm", init, {"model": player}, ema=("unet",))
    if not model.unet.film:
        reads = _reads(model, texts=("t5",))
        return Plan(stage, reads, ("vae", "t5"), ("unet",), ("unet",), drops=True)
    reads = _reads(model, clap=_hears(model, made), texts=_texts(model, made))
    return Plan(stage, reads, ("vae", "clap"), ("unet",), ("unet",), drops=True)


def _joint(model, optim, settings, dtype) -> Plan:
    _needs(model, "joint", "gpt2", "audiomae")
    made = diffusion.Diffusion(model, dtype=dtype, **_tuples(settings))
    parts = ("unet", *_language(model, made))
    makers = {part: _initial(part, getattr(model, part)) for part in parts}
    player = Player(parts, diffusion.joint_loss(made), optim, _UNUSED)
    stage = Stage("joint", _init(makers), {"model": player}, ema=parts)
    frozen = ("vae", *_encoders(model, made), "audiomae")
    reads = _reads(model, clap=_hears(model, made), texts=_texts(model, made), loa=made.poolings)
    return Plan(stage, reads, frozen, parts, parts, drops="t5" in frozen)


def _tuples(settings: dict) -> dict:
    """Sequences as tuples: settings are part of compiled functions' identity."""
    return {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in settings.items()}


def _tagger(model, optim, settings, dtype) -> Plan:
    labels = settings.pop("classes")
    shape = {k: settings.pop(k) for k in ("channels", "width") if k in settings}
    config = TaggerConfig(classes=len(labels), labels=labels, **_tuples(shape))
    made = tagger.Tagging(config, dtype=dtype, **settings)
    makers = {"tagger": _initial("tagger", config)}
    measure = tagger.tagging_loss(dataclasses.replace(made, train=False))
    player = Player(("tagger",), tagger.tagging_loss(made), optim, _STATISTICS, measure)
    stage = Stage("tagger", _init(makers), {"model": player})
    reads = Reads(config.sample_rate, labels=True)
    return Plan(stage, reads, exports=("tagger",), alone=config)


STAGES: dict[str, Callable[..., Plan]] = {
    "audiomae": _audiomae,
    "clap": _clap,
    "vae": _vae,
    "vocoder": _vocoder,
    "sequence": _sequence,
    "latent_diffusion": _pretraining,
    "joint": _joint,
    "audioldm": _conditioned,
    "tagger": _tagger,
}

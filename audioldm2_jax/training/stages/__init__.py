"""The stages by name: what each trains, what it needs frozen, what it reads of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audioldm2_jax.encoders.latents import check_length
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.layers import REMAT
from audioldm2_jax.presets import ModelConfig, PANNsConfig
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.stage import Player, Stage
from audioldm2_jax.training.stages import audiomae, clap, diffusion, sequence, vae, vocoder
from audioldm2_jax.training.stages.kinds import StageKind, check_settings, fields_of
from audioldm2_jax.training.stages.plans import (
    Plan,
    as_tuples,
    init_of,
    initial,
    plan_audiomae,
    plan_clap,
    plan_tagger,
    plan_vae,
    plan_vocoder,
    reads_of,
)

# GPT-2 reads vectors; its table of words is only kept.
_UNUSED = (r"^gpt2/tokens$",)


def check_stage(name: str, settings: Mapping[str, Any]) -> StageKind:
    """The stage of that name. Raises InputError for an unknown one, or settings that do not fit."""
    if name not in STAGES:
        raise InputError(f"stage {name!r}: choose one of {' '.join(STAGES)}")
    check_settings(name, STAGES[name], settings)
    return STAGES[name]


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
    """A stage for a model. remat: see `layers.maybe_remat`.

    Raises InputError for an unknown name or settings that do not fit.
    """
    kind = check_stage(name, settings)
    if remat not in REMAT or (not kind.remat and remat != "none"):
        only = "" if kind.remat else f"; {name}: none alone"
        raise InputError(f"remat {remat!r}: choose one of {' '.join(REMAT)}{only}")
    settings = dict(settings)
    if kind.remat:
        settings["remat"] = remat
    if kind.labels:
        settings["classes"] = classes
    if kind.grid:
        check_length(model, seconds)
    segment, samples = settings.get("segment", 0), int(seconds * model.vocoder.sample_rate)
    if segment > samples:
        raise InputError(f"settings.segment is {segment}: a clip has {samples} samples; lower it")
    try:
        return kind.make(model, optim, settings, dtype)
    except TypeError as error:
        raise InputError(f"settings of {name}: {error}") from None


def _language(model: ModelConfig, made) -> tuple[str, ...]:
    """Parts that GPT-2 trains with: the projection, the phoneme encoder of speech, T5 if asked."""
    if made.text and (not model.t5 or model.phonemes):
        raise InputError("settings.text: the model has no T5 to train; leave it at False")
    text = ("phonemes",) if model.phonemes else ("t5",) if made.text else ()
    return ("projection", "gpt2", *text)


def _texts(model: ModelConfig, made) -> tuple[str, ...]:
    """Texts that are read; CLAP's only if some vectors are of captions."""
    names = ("clap",) if model.clap and made.audio < 1 else ()
    return names + (("t5",) if model.t5 else ()) + (("phonemes",) if model.phonemes else ())


def _hears(model: ModelConfig, made) -> bool:
    """Whether CLAP hears the clips. Raises InputError if it has no tower for that."""
    if made.audio > 0 and not model.has_audio_tower:
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
    makers = {part: initial(part, getattr(model, part)) for part in parts}
    measure = sequence.sequence_loss(made, held=True)
    player = Player(parts, sequence.sequence_loss(made), optim, _UNUSED, measure)
    stage = Stage("sequence", init_of(makers), {"model": player})
    frozen = (*_encoders(model, made), "audiomae")
    reads = reads_of(model, clap=_hears(model, made), texts=_texts(model, made), loa=made.poolings)
    return Plan(stage, reads, frozen, parts, parts)


_WITH = {"audiomae": "; the authors' file has it: convert it, and name that folder as the start"}


def _needs(model: ModelConfig, stage: str, *parts: str) -> None:
    for part in parts:
        if getattr(model, part) is None:
            raise InputError(f"stage {stage}: the model has no part {part}{_WITH.get(part, '')}")
    if model.audiomae.width != model.gpt2.width:
        raise InputError(
            f"stage {stage}: AudioMAE's vectors are {model.audiomae.width} wide, GPT-2's "
            f"{model.gpt2.width}; name a start whose parts belong together"
        )


def _pretraining(model, optim, settings, dtype) -> Plan:
    _needs(model, "latent_diffusion", "gpt2", "audiomae")
    settings = {"poolings": (1, 2, 4, 8)} | settings
    made = diffusion.Diffusion(model, dtype=dtype, **as_tuples(settings))
    player = Player(("unet",), diffusion.pretraining_loss(made), optim)
    init = init_of({"unet": initial("unet", model.unet)})
    stage = Stage("latent_diffusion", init, {"model": player}, ema=("unet",))
    reads = reads_of(model, loa=made.poolings)
    text = ("t5",) if model.t5 else ()
    frozen = ("vae", "audiomae", *text)
    return Plan(stage, reads, frozen, ("unet",), ("unet",), drops=bool(text))


def _conditioned(model, optim, settings, dtype) -> Plan:
    made = diffusion.Diffusion(model, dtype=dtype, **settings)
    if made.audio and not model.unet.film:
        raise InputError("settings.audio: the model has no CLAP to condition on; leave it at 0.0")
    player = Player(("unet",), diffusion.conditioned_loss(made), optim)
    init = init_of({"unet": initial("unet", model.unet)})
    stage = Stage("audioldm", init, {"model": player}, ema=("unet",))
    if not model.unet.film:
        reads = reads_of(model, texts=("t5",))
        return Plan(stage, reads, ("vae", "t5"), ("unet",), ("unet",), drops=True)
    reads = reads_of(model, clap=_hears(model, made), texts=_texts(model, made))
    return Plan(stage, reads, ("vae", "clap"), ("unet",), ("unet",), drops=True)


def _joint(model, optim, settings, dtype) -> Plan:
    _needs(model, "joint", "gpt2", "audiomae")
    made = diffusion.Diffusion(model, dtype=dtype, **as_tuples(settings))
    if len(made.poolings) > 1:
        raise InputError(f"settings.poolings {made.poolings}: stage joint takes one pooling")
    parts = ("unet", *_language(model, made))
    makers = {part: initial(part, getattr(model, part)) for part in parts}
    player = Player(parts, diffusion.joint_loss(made), optim, _UNUSED)
    stage = Stage("joint", init_of(makers), {"model": player}, ema=parts)
    frozen = ("vae", *_encoders(model, made), "audiomae")
    reads = reads_of(model, clap=_hears(model, made), texts=_texts(model, made), loa=made.poolings)
    return Plan(stage, reads, frozen, parts, parts, drops="t5" in frozen)


STAGES: dict[str, StageKind] = {
    "tagger": StageKind(
        plan_tagger,
        fields_of(PANNsConfig, "channels", "width", momentum=0.1, mixup=True, drop=True),
        "tagger.py",
        "a classifier: PANNs' Cnn14 or smaller, binary cross entropy; mixup, drop-out (optional)",
        reads="sound, labels",
        labels=True,
        grid=False,
        begins=False,
        remat=False,
    ),
    "audiomae": StageKind(
        plan_audiomae,
        fields_of(
            audiomae.Masked, "share", "decoder_width", "decoder_depth", "decoder_heads", "local"
        ),
        "audiomae.py",
        "AudioMAE: 80 % of the patches hidden; encoder, and a decoder that attends within windows",
        grid=False,
    ),
    "clap": StageKind(
        plan_clap,
        fields_of(clap.Contrast, "momentum", "longest"),
        "clap.py",
        "CLAP's towers, both temperatures, the global batch's negatives, its mel statistics",
        needs="tokenizer",
        reads="sound at 48 kHz, captions",
        grid=False,
        texts=True,
    ),
    "vae": StageKind(
        plan_vae,
        fields_of(
            vae.Autoencoder,
            *("divergence", "adversarial", "start", "patch_width", "perceptual"),
            perceptual_weights="",
        ),
        "vae.py",
        "the mel VAE: L1, LPIPS (optional), divergence, PatchGAN with adaptive weight, late start",
        average=True,
        samples="clips",
    ),
    "vocoder": StageKind(
        plan_vocoder,
        fields_of(vocoder.Vocoder, "segment", "mel", "spectra", "adversarial", small=False),
        "vocoder.py",
        "HiFi-GAN with weight norm: five periods, three scales, features, mel; spectra (optional)",
        samples="clips",
    ),
    "sequence": StageKind(
        _sequence,
        fields_of(
            sequence.Sequence,
            *("pooling", "error", "free", "through", "audio", "text", "hide"),
        ),
        "audioldm2/sequence.py",
        "GPT-2, its projection (and phoneme encoder): LOA, teacher-forced; roll-out (optional)",
        needs="CLAP, T5, AudioMAE",
        reads="sound, captions or transcripts",
        texts=True,
        samples="prompts",
    ),
    "latent_diffusion": StageKind(
        _pretraining,
        fields_of(diffusion.Diffusion, "drop", "snr_gamma", poolings=(1, 2, 4, 8)),
        "audioldm2/pretrain.py",
        "U-Net on the LOA of the sound itself, pooling drawn for each step",
        needs="VAE, AudioMAE",
        latents=True,
        average=True,
        samples="prompts",
    ),
    "joint": StageKind(
        _joint,
        fields_of(
            diffusion.Diffusion,
            *("drop", "poolings", "truth", "through", "audio", "text", "snr_gamma"),
        ),
        "audioldm2/joint.py",
        "U-Net and GPT-2 (and phoneme encoder), probability switcher (`settings.truth`, 0.25)",
        needs="VAE, CLAP, T5, AudioMAE",
        reads="sound, captions or transcripts",
        latents=True,
        texts=True,
        average=True,
        samples="prompts",
    ),
    "audioldm": StageKind(
        _conditioned,
        fields_of(diffusion.Diffusion, "drop", "audio", "snr_gamma"),
        "audioldm.py",
        "AudioLDM on CLAP's vector of sound or caption, or on T5",
        needs="VAE, CLAP (or T5)",
        reads="sound, captions",
        latents=True,
        texts=True,
        average=True,
        samples="prompts",
    ),
}

"""GPT-2 learns the language of audio, teacher-forced (AudioLDM 2, section III-B)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from audioldm2_jax.encoders import loa as encoders
from audioldm2_jax.encoders.loa import LMInputs
from audioldm2_jax.errors import InputError
from audioldm2_jax.models.gpt2 import GPT2, empty_cache, roll_out
from audioldm2_jax.presets import ModelConfig
from audioldm2_jax.training.init import init_part, init_parts
from audioldm2_jax.training.optim import OptimConfig
from audioldm2_jax.training.settings import StageSettings, setting
from audioldm2_jax.training.spec import (
    BatchSpec,
    Loss,
    PromptSamples,
    Stage,
    StageInfo,
    StageSpec,
    TrainableGroup,
)
from audioldm2_jax.training.stages import conditions

ERRORS = {"l1": jnp.abs, "mse": jnp.square}
# GPT-2 reads vectors; checkpoints hold its table of words, which nothing uses.
UNUSED = (r"^gpt2/tokens$",)


@dataclass(frozen=True)
class LanguageSettings(StageSettings):
    """What the stages that train GPT-2 share.

    pooling: of the LOA; p_clap_audio: share of clips whose CLAP vector is of the sound (the paper's
    speech models, whose corpora have no captions), not of the caption; train_t5: T5 trains too, for
    models whose T5 is not a published one.
    """

    pooling: int = setting(8, 1)
    p_clap_audio: float = setting(0.0, 0, 1)
    train_t5: bool = setting(False)

    @property
    def poolings(self) -> tuple[int, ...]:
        """The one pooling, as the stages on several name it."""
        return (self.pooling,)


@dataclass(frozen=True)
class LOASettings(LanguageSettings):
    """loss: l1, as the released code has it, or mse, as the paper writes; rollout_weight: of the
    error of a free roll-out, 0 for none; backprop_through_rollout: its gradients flow from vector
    to vector, which takes long where there are many; prefix_dropout: bound of the share of true
    vectors that each clip's prefix lacks, so that GPT-2 reads the conditions too.
    """

    loss: str = setting("l1", choices=tuple(ERRORS))
    rollout_weight: float = setting(0.0, 0)
    backprop_through_rollout: bool = setting(True, needs=("rollout_weight", bool))
    prefix_dropout: float = setting(0.0, 0, 1)


def lm_inputs(settings: Any, params: dict, vector, states, mask) -> LMInputs:
    """GPT-2's prefix of the conditions. vector: [B, D]; states: [B, L, D]; mask: [B, L]."""
    # Of speech every phoneme slot counts; its padding is part of the sequence.
    full = jnp.full(mask.shape[0], mask.shape[1], jnp.int32)
    lengths = full if settings.model.phonemes else mask.sum(-1)
    config, part = settings.model.projection, params["projection"]
    return encoders.lm_inputs(part, vector, states, mask, lengths, config, settings.dtype)


def teacher_forced(settings: Any, params: dict, inputs: LMInputs, truth):
    """GPT-2's prediction from the true prefix at every position; truth and result: [B, L, D]."""
    model, count = settings.model, truth.shape[1]
    batch, start, _ = inputs.embeddings.shape
    embeddings = inputs.embeddings
    sequence = jnp.concatenate([embeddings, truth[:, :-1].astype(embeddings.dtype)], 1)
    after = inputs.positions[:, -1:] + 1 + jnp.arange(count - 1)
    positions = jnp.concatenate([inputs.positions, after], 1)
    mask = jnp.concatenate([inputs.mask, jnp.ones((batch, count - 1), bool)], 1)
    cache = empty_cache(model.gpt2, batch, sequence.shape[1], settings.dtype)
    gpt2 = GPT2(model.gpt2, settings.dtype, settings.remat)
    states, _ = gpt2.apply({"params": params["gpt2"]}, sequence, positions, cache, 0, mask)
    return states[:, start - 1 :]


def rollout(settings: Any, params: dict, inputs: LMInputs, count: int):
    """GPT-2's free continuation: [B, count, D].

    Without `settings.backprop_through_rollout` the same vectors are the result of one more
    teacher-forced pass over the roll-out, and gradients flow through that pass only.
    """
    gpt2 = GPT2(settings.model.gpt2, settings.dtype, settings.remat)
    arguments = params["gpt2"], inputs.embeddings
    if not settings.backprop_through_rollout:
        arguments = jax.lax.stop_gradient(arguments)
    vectors = roll_out(gpt2, *arguments, inputs.mask, inputs.positions, tokens=count)
    if settings.backprop_through_rollout:
        return vectors
    return teacher_forced(settings, params, inputs, vectors)


def prefix_mask(shape, keys, most: float):
    """True vectors that a prefix keeps: [B, L]; each clip lacks a share, drawn below `most`."""

    def one(key):
        share, places = jax.random.split(jax.random.fold_in(key, 5))
        return jax.random.uniform(places, shape[1:]) >= most * jax.random.uniform(share)

    return jax.vmap(one)(keys)


def partial_prefix(settings: Any, params: dict, inputs: LMInputs, truth, keys):
    """The true vectors [B, L, D] without the hidden ones.

    In their place are zeros (word dropout: Bowman et al. 2016) or, of every other clip, GPT-2's
    prediction from the prefix with zeros (parallel scheduled sampling: Duckworth et al. 2019).
    """
    mask = prefix_mask(truth.shape[:2], keys, settings.prefix_dropout)[..., None]
    blank = jnp.where(mask, truth, 0)
    params, inputs = jax.lax.stop_gradient((params, inputs))
    prediction = teacher_forced(settings, params, inputs, blank).astype(truth.dtype)
    uses_prediction = conditions.draw(keys, 6, 0.5)
    return conditions.where(uses_prediction, jnp.where(mask, truth, prediction), blank)


def language_loss(settings: LOASettings, *, is_eval: bool = False) -> Loss:
    """is_eval: for held-out clips: no prefix dropout, and the roll-out's error as a metric."""
    error = ERRORS[settings.loss]
    if is_eval:
        changes = {"prefix_dropout": 0.0, "backprop_through_rollout": True}
        settings = dataclasses.replace(settings, **changes)

    def loss(params, frozen, batch, keys, step):
        truth = conditions.true_loas(settings, frozen, batch)[settings.pooling]
        vector = conditions.clap_vector(settings, frozen, batch, keys)
        states, mask = conditions.text_states(settings, params, frozen, batch)
        inputs = lm_inputs(settings, params, vector, states, mask)
        prefix = truth
        if settings.prefix_dropout:
            prefix = partial_prefix(settings, params, inputs, truth, keys)
        prediction = teacher_forced(settings, params, inputs, prefix)
        value = error(prediction.astype(jnp.float32) - truth).mean()
        metrics = {"forced": value, "mean": error(truth - truth.mean(0)).mean()}
        if settings.rollout_weight or is_eval:
            free = rollout(settings, params, inputs, truth.shape[1])
            metrics["free"] = error(free.astype(jnp.float32) - truth).mean()
            value = value + settings.rollout_weight * metrics["free"]
        return value, metrics

    return loss


_WITH = {
    "audiomae": "; the authors' file has it: convert it, and name that folder as base_checkpoint"
}


def check_language_model(model: ModelConfig, stage: str) -> None:
    """Raises InputError where the model lacks GPT-2 or AudioMAE, or they do not fit together."""
    for part in ("gpt2", "audiomae"):
        if getattr(model, part) is None:
            raise InputError(f"stage {stage}: the model has no part {part}{_WITH.get(part, '')}")
    if model.audiomae.width != model.gpt2.width:
        raise InputError(
            f"stage {stage}: AudioMAE's vectors are {model.audiomae.width} wide, GPT-2's "
            f"{model.gpt2.width}; name a base_checkpoint whose parts belong together"
        )


def language_parts(settings: LanguageSettings) -> tuple[str, ...]:
    """Parts that GPT-2 trains with: the projection, the phoneme encoder of speech, T5 if asked."""
    model = settings.model
    if settings.train_t5 and (not model.t5 or model.phonemes):
        raise InputError("settings.train_t5: the model has no T5 to train; leave it at False")
    text = ("phonemes",) if model.phonemes else ("t5",) if settings.train_t5 else ()
    return ("projection", "gpt2", *text)


def language_batch(settings: LanguageSettings) -> BatchSpec:
    """What the stages that train GPT-2 read of a clip."""
    model, p_clap_audio = settings.model, settings.p_clap_audio
    return conditions.batch_spec(
        settings,
        clap_audio=conditions.hears_audio(model, p_clap_audio),
        texts=conditions.text_specs(model, p_clap_audio),
        poolings=settings.poolings,
    )


def frozen_encoders(settings: LanguageSettings, batch: BatchSpec) -> dict[str, tuple[str, ...]]:
    """CLAP, T5 and AudioMAE, as far as the model has them and they do not train."""
    model = settings.model
    parts = ["clap"] if model.clap else []
    if model.t5 and not settings.train_t5:
        parts.append("t5")
    return conditions.frozen_parts(batch, *parts, "audiomae")


def build(settings: LOASettings, optim: OptimConfig) -> StageSpec:
    """The stage for these settings. Raises InputError where the model lacks a part it needs."""
    model = settings.model
    check_language_model(model, "loa")
    parts = language_parts(settings)
    losses = language_loss(settings), language_loss(settings, is_eval=True)
    group = TrainableGroup(parts, losses[0], optim, UNUSED, losses[1])
    init = init_parts({part: init_part(part, getattr(model, part)) for part in parts})
    batch = language_batch(settings)
    return StageSpec(
        Stage("loa", init, {"model": group}),
        batch,
        frozen_encoders(settings, batch),
        init_from_base=parts,
        exports=parts,
    )


STAGE = StageInfo(
    name="loa",
    settings=LOASettings,
    build=build,
    trains="GPT-2, its projection (and phoneme encoder): LOA, teacher-forced; roll-out (optional)",
    needs="CLAP, T5, AudioMAE",
    reads="sound, captions or transcripts",
    samples=PromptSamples(),
    reads_texts=True,
)

"""The checkpoint that a run builds on: its configuration, weights and tokenizers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from audioldm2_jax.checkpoints import download, hub
from audioldm2_jax.checkpoints.parts import parts_of
from audioldm2_jax.data.loading import tokenise
from audioldm2_jax.data.untrained import random_checkpoint
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import PRESETS, AudioMAEConfig, ModelConfig
from audioldm2_jax.training.spec import StageSpec

RANDOM = "random"


@dataclass(frozen=True)
class BaseCheckpoint:
    """model: its configuration; source: what `load` reads; tokenizers: of its texts."""

    model: ModelConfig
    source: Any
    tokenizers: dict

    def load(self, names, dtype) -> dict:
        """Parameters of the named parts, on the host. Raises InputError if one is missing."""
        names = tuple(names)
        if missing := set(names) - set(parts_of(self.model)):
            raise InputError(
                f"the base checkpoint has no part {min(missing)}, which the stage needs"
            )
        if not names:
            return {}
        if isinstance(self.source, dict):
            return {name: self.source[name] for name in names}
        checkpoint = hub.load(self.source, dtype=dtype, only=names)
        return {name: checkpoint.params[name] for name in names}


def open_base_checkpoint(name: str, preset: str) -> BaseCheckpoint:
    """A hub-layout folder or hub id; "random", an untrained model of the preset, to try things out.

    "" is the preset alone, without weights and tokenizers. Raises InputError.
    """
    if name in ("", RANDOM):
        if preset not in PRESETS:
            raise InputError(f"preset {preset!r}: choose one of {' '.join(PRESETS)}")
        model = with_audiomae(PRESETS[preset]())
        if not name:
            return BaseCheckpoint(model, {}, {})
        untrained = random_checkpoint(model)
        return BaseCheckpoint(model, untrained.params, untrained.tokenizers)
    folder = download.locate(name)
    checkpoint = hub.load(folder, only=())
    return BaseCheckpoint(checkpoint.config, folder, checkpoint.tokenizers)


def with_audiomae(model: ModelConfig) -> ModelConfig:
    """Published layouts lack AudioMAE; its width is GPT-2's."""
    if model.gpt2 is None or model.audiomae is not None:
        return model
    if model.gpt2.width == AudioMAEConfig().width:
        return dataclasses.replace(model, audiomae=AudioMAEConfig())
    small = AudioMAEConfig(frames=128, width=model.gpt2.width, depth=3, heads=2, hidden=48)
    return dataclasses.replace(model, audiomae=small)


def token_transforms(base: BaseCheckpoint, spec: StageSpec) -> dict[str, tokenise.TextTokeniser]:
    """The stage's texts as tokens, by name. Raises InputError where a tokenizer is missing."""
    transforms = {}
    for text in spec.batch.texts:
        length = text.length(spec.batch.text_length)
        if text.source == "transcript":
            transforms[text.name] = tokenise.from_phonemes(length)
            continue
        tokenizer = base.tokenizers.get(text.tokenizer)
        if tokenizer is None:
            raise InputError(
                f"stage {spec.stage.name} reads texts: name a base_checkpoint with tokenizers"
            )
        transforms[text.name] = tokenise.from_tokenizer(tokenizer, length)
    return transforms

"""Hooks that the configuration asks for: validation and samples."""

from __future__ import annotations

import itertools

import jax

from audioldm2_jax.data.loading.batches import arrays
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import samples
from audioldm2_jax.training.run import Run, needed_parts, open_batches
from audioldm2_jax.training.spec import ClipSamples, PromptSamples
from audioldm2_jax.training.validation import Validation


def hooks_of(run: Run, batch: dict | None, writer) -> list:
    """Validation and samples, where the configuration asks for them.

    batch: the first one, whose clips become samples if there is no validation; writer: None on
    processes that write nothing. Raises InputError where one cannot work.
    """
    config, hooks, clips = run.config, [], batch
    if config.validation.every and config.validation.sources:
        batches = [arrays(b) for b in _validation_batches(run)]
        clips = batches[0]
        if batch and not set(needed_parts(run, clips)) <= set(needed_parts(run, batch)):
            raise InputError(
                f"validation.sources {config.validation.sources}: not encoded as data.sources are; "
                "encode both alike or neither"
            )
        hooks.append(Validation(run.spec.stage, config.validation.every, batches))
    if config.sample.every and clips is not None and (hook := _samples(run, clips, writer)):
        hooks.append(hook)
    return hooks


def _samples(run: Run, clips: dict, writer):
    """The hook that writes samples of the stage's kind; None where these clips have no sound, or
    the base checkpoint no tokenizers.
    """
    config, kind = run.config.sample, run.info.samples

    def trained(state, frozen):
        """Of this state, in a checkpoint's form."""
        return samples.gather(run.merged_params(state.params | state.ema, frozen))

    if isinstance(kind, ClipSamples) and "waveform" in clips:
        waves = samples.gather(clips["waveform"])[: samples.CLIPS]
        model = run.base.model
        return samples.ClipHook(config.every, trained, writer, kind, model=model, clips=waves)
    if isinstance(kind, PromptSamples) and run.base.tokenizers:
        texts = config.prompts or samples.default_prompts(run.base.model)
        settings = {"prompts": texts, "steps": config.steps, "seconds": run.config.data.seconds}
        return samples.PromptHook(config.every, trained, run.full_checkpoint, writer, **settings)
    return None


def _validation_batches(run: Run) -> list[dict]:
    """The first batches of the held-out clips; always the same."""
    config = run.config.validation
    with open_batches(run, config.sources, epochs=1) as batches:
        held_out = list(itertools.islice(batches, config.batches))
    if not held_out:
        # Several processes must agree on the number of batches, so that short ones are left out.
        size = run.config.batch
        why = f"holds less than a batch of {size}" if jax.process_count() > 1 else "has no clips"
        raise InputError(f"validation.sources {config.sources}: {why}")
    return held_out

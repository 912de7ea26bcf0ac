"""What a run does every so many steps beside training, as its configuration asks for it."""

from __future__ import annotations

import itertools

import jax

from audioldm2_jax.data.loading.batches import arrays
from audioldm2_jax.errors import InputError
from audioldm2_jax.training import samples
from audioldm2_jax.training.run import Run, needed, open_batches
from audioldm2_jax.training.stages import STAGES
from audioldm2_jax.training.validation import Validation


def hooks_of(run: Run, batch: dict | None, writer) -> list:
    """Validation and samples, as far as the configuration asks for them.

    batch: the first one, whose clips are heard again if there is no validation; writer: None on
    processes that write nothing. Raises InputError for what cannot be had.
    """
    config, found, clips = run.config, [], batch
    if config.validation.every and config.validation.sources:
        batches = [arrays(b) for b in _validation_batches(run)]
        clips = batches[0]
        if batch and not set(needed(run, clips)) <= set(needed(run, batch)):
            raise InputError(
                f"validation.sources {config.validation.sources}: not encoded as data.sources are; "
                "encode both alike or neither"
            )
        found.append(Validation(run.plan.stage, config.validation.every, batches))
    asked = config.sample
    if not asked.every or clips is None:
        return found

    def trained(state, frozen):
        """Of this state, as a checkpoint has it."""
        return samples.gathered(run.heard(state.params | state.ema, frozen))

    kind = STAGES[config.stage].samples
    if kind == "clips" and "waveform" in clips:
        settings = {"model": run.start.model, "part": config.stage}
        heard = samples.gathered(clips["waveform"])[: samples.CLIPS]
        made = samples.Reconstructed(asked.every, trained, writer, clips=heard, **settings)
        return [*found, made]
    if kind == "prompts" and run.start.tokenizers:
        texts = asked.prompts or samples.default_prompts(run.start.model)
        settings = {"prompts": texts, "steps": asked.steps, "seconds": config.data.seconds}
        found.append(samples.Generated(asked.every, trained, run.whole, writer, **settings))
    return found


def _validation_batches(run: Run) -> list[dict]:
    """The first batches of the held-out clips; always the same."""
    asked = run.config.validation
    with open_batches(run, asked.sources, epochs=1) as batches:
        found = list(itertools.islice(batches, asked.batches))
    if not found:
        # Several processes must agree on the number of batches, so that short ones are left out.
        size = run.config.batch
        why = f"holds less than a batch of {size}" if jax.process_count() > 1 else "has no clips"
        raise InputError(f"validation.sources {asked.sources}: {why}")
    return found

"""What the stages of the embedded models share. `make nano` runs all of them; docs/nano.md.

Corpora, runs and checkpoints lie below the folder NANO (by default `nano`) of the environment.
"""

import os

from ml_collections import ConfigDict

from audioldm2_jax.training.stages import find_stage

FOLDER = os.environ.get("NANO", "nano")
TEXT_LENGTH, SECONDS = 32, 2.56


def nano(config: ConfigDict, start: str, steps: int, rate: float) -> ConfigDict:
    """Two cores, clips of 2.56 s. start: the checkpoint before this stage, below `FOLDER`."""
    stage = find_stage(config.stage)
    if stage.uses_base:
        config.preset = "nano"
    if start:
        config.base_checkpoint, config.init_from_base = f"{FOLDER}/models/{start}", False
    config.data.sources = f"{FOLDER}/corpus"
    config.validation.sources = f"{FOLDER}/held"
    config.data.seconds = SECONDS
    if stage.reads_texts:
        config.data.text_length = TEXT_LENGTH
    config.batch, config.steps, config.dtype = 32, steps, "fp32"
    config.optim.learning_rate, config.optim.warmup = rate, 200
    config.optim.schedule = "cosine"
    if stage.has_ema:
        config.ema_decay = 0.999
    config.save_every, config.keep = 250, 2
    config.validation.every = 500
    config.sample.every = 0
    return config


def precomputed(config: ConfigDict) -> ConfigDict:
    """The same run on the precomputed corpora."""
    config.data.sources = config.data.sources.replace(",", "-encoded,") + "-encoded"
    config.validation.sources += "-encoded"
    return config


def speech(config: ConfigDict, start: str, steps: int) -> ConfigDict:
    """The same stage for the model of speech: its own corpora, fewer steps."""
    if find_stage(config.stage).uses_base:
        config.preset = "nano-speech"
    if start:
        config.base_checkpoint = f"{FOLDER}/models/{start}"
    config.data.sources = f"{FOLDER}/speech"
    config.validation.sources = f"{FOLDER}/speech-held"
    config.steps = steps
    return config

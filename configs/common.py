"""What every run has. A run is `get_config(arg)` of a file here; any value can be overridden:

audioldm2-jax train --config=configs/vae.py --workdir=runs/vae --config.data.sources=corpora/mine
All entries, their defaults and bounds: audioldm2_jax/training/entries.py; a stage's settings:
audioldm2_jax/training/stages. `train --help` lists both.
"""

from ml_collections import ConfigDict

from audioldm2_jax.training.configuration import stage_config
from audioldm2_jax.training.stages import find_stage

__all__ = ["few", "stage_config", "tiny", "variant"]


def tiny(config: ConfigDict) -> ConfigDict:
    """The same stage at a size that takes a step in a moment on a CPU, to try things out."""
    stage = find_stage(config.stage)
    if stage.uses_base:
        config.preset = "tiny"
    config.data.seconds = 1.28
    if stage.reads_texts:
        config.data.text_length = 32
    config.batch = 8
    config.steps = 20
    config.dtype = "fp32"
    config.optim.warmup = 5
    config.optim.learning_rate = 1e-3
    config.log_every = 5
    config.save_every = 20
    config.validation.every, config.validation.batches = 10, 2
    config.sample.every, config.sample.steps = 0, 4
    return config


def few(config: ConfigDict) -> ConfigDict:
    """The same stage for fine-tuning on ten to some hundred clips, on one device."""
    config.batch, config.steps = 4, 1000
    config.optim.warmup = 50
    config.log_every, config.save_every, config.keep = 10, 100, 2
    config.validation.every = 100
    config.sample.every = 250
    return config


def variant(arg: str, known: tuple[str, ...]) -> str:
    """The argument behind the file's colon, the first known one by default."""
    if arg and arg not in known:
        raise ValueError(f"{arg!r}: choose one of {' '.join(known)}")
    return arg or known[0]

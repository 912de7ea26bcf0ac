"""The study's small AudioLDM: pre-trained on sounds, or fine-tuned, or from scratch.

python -m audioldm2_jax.recipes.study.build runs all of them; docs/study.md.
audioldm2-jax train --config=study/audioldm:pretrain --workdir=study/runs/pretrain
Corpora, runs and checkpoints lie below the folder STUDY (by default `study`) of the environment.
"""

import os

from audioldm2_jax.configs.common import stage_config, variant

FOLDER = os.environ.get("STUDY", "study")
# States that the study evaluates: of every run these steps.
STEPS = (100, 200, 400, 800)


def get_config(arg: str = ""):
    kind = variant(arg, ("pretrain", "finetune"))
    config = stage_config("audioldm", p_clap_audio=1.0)
    config.preset = "nano-audioldm"
    config.base_checkpoint = f"{FOLDER}/models/start"
    config.data.seconds, config.data.text_length = 2.56, 32
    config.data.sources = f"{FOLDER}/plain-encoded:train"
    config.batch, config.dtype, config.ema_decay = 32, "fp32", 0.999
    config.init_from_base = False
    config.optim.learning_rate, config.optim.warmup = 5e-4, 200
    config.steps, config.log_every, config.save_every = 5000, 20, 100
    config.validation.every, config.sample.every = 0, 0
    if kind == "finetune":
        # As the paper: the U-Net alone learns, from the pre-trained one or from scratch.
        config.optim.learning_rate, config.optim.warmup = 3e-4, 50
        config.steps, config.keep_every, config.ema_decay = STEPS[-1], 100, 0.99
    else:
        config.optim.schedule = "cosine"
    return config

"""AudioMAE: masked spectrogram modelling, 80 % hidden (arXiv 2207.06405).

audioldm2-jax train --config=configs/audiomae.py --workdir=runs/mae --config.data.sources=CORPUS
The decoder attends within windows, as the authors'; settings.local_attention=False with
settings.decoder_depth=8 is MAE's plain one. Authors: AudioSet, 33 epochs at batch 512 on 64 GPUs.
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("audiomae")
    config.optim.learning_rate = 2e-4
    config.optim.weight_decay = 1e-4
    config.optim.beta2 = 0.95
    config.optim.schedule = "cosine"
    config.batch = 512
    if variant(arg, ("base", "tiny")) == "tiny":
        config = tiny(config)
        config.settings.decoder_width, config.settings.decoder_depth = 24, 2
        config.settings.decoder_heads = 2
    return config

"""A sound classifier: PANNs' Cnn14 (arXiv 1912.10211), or a small one; classes are the labels.

audioldm2-jax train --config=configs/panns.py --workdir=runs/panns --config.data.sources=CORPUS
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("panns")
    config.optim.learning_rate = 1e-3
    config.optim.weight_decay = 0.0
    config.batch, config.steps = 32, 600_000
    kind = variant(arg, ("cnn14", "small", "tiny"))
    if kind != "cnn14":
        config.settings.channels, config.settings.width = (32, 64, 128, 256), 256
    if kind == "tiny":
        config = tiny(config)
        config.settings.channels, config.settings.width = (16, 32, 64), 64
    return config

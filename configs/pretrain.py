"""AudioLDM 2, section III-C: the U-Net on the LOA of the sound itself, without captions.

audioldm2-jax train --config=configs/pretrain.py --workdir=runs/pretrain \\
    --config.base_checkpoint=CHECKPOINT --config.data.sources=CORPUS
The base checkpoint holds the VAE and AudioMAE. Authors: 8 A100, learning rate 1e-4, warm-up 10 000.
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("pretrain")
    config.optim.warmup = 10_000
    config.steps = 800_000
    kind = variant(arg, ("base", "large", "tiny"))
    if kind == "large":
        config.preset = "large"
    if kind == "tiny":
        config = tiny(config)
        config.base_checkpoint, config.settings.poolings = "random", (2, 4, 8)
    return config

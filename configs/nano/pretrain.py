"""The U-Net of the embedded model, on the LOA of the clips themselves.

audioldm2-jax train --config=configs/nano/pretrain.py --workdir=nano/runs/pretrain
"""

from configs.common import base, variant
from configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("latent_diffusion", drop=0.1, poolings=(4,))
    config = nano(config, "sequence", steps=5000, rate=5e-4)
    config.data.sources, config.latent_scale = config.data.sources + "-encoded", "batch"
    config.validation.sources += "-encoded"
    return config

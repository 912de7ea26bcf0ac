"""The mel VAE of the embedded model.

audioldm2-jax train --config=configs/nano/vae.py --workdir=nano/runs/vae
"""

from audioldm2_jax.configs.common import base, variant
from audioldm2_jax.configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("vae", divergence=100.0, adversarial=0.1, start=1200, patch_width=16)
    config.settings.perceptual, config.settings.perceptual_weights = 0.0, ""
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9
    config.optim.weight_decay, config.optim.clip = 0.0, 0.0
    config = nano(config, "start", steps=2500, rate=5e-4)
    config.batch = 8
    return config

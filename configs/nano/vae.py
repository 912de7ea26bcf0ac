"""The mel VAE of the embedded model.

audioldm2-jax train --config=configs/nano/vae.py --workdir=nano/runs/vae
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = stage_config("vae", kl_weight=100.0, adversarial_weight=0.1)
    config.settings.discriminator_start, config.settings.discriminator_width = 1200, 16
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9
    config.optim.weight_decay, config.optim.clip = 0.0, 0.0
    config = nano(config, "start", steps=2500, rate=5e-4)
    config.batch = 8
    return config

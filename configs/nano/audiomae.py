"""AudioMAE of the embedded model.

audioldm2-jax train --config=configs/nano/audiomae.py --workdir=nano/runs/audiomae
"""

from audioldm2_jax.configs.common import base, variant
from audioldm2_jax.configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("audiomae", share=0.8, decoder_width=128, decoder_depth=4, local=True)
    config.settings.decoder_heads = 4
    config.optim.beta2 = 0.95
    config = nano(config, "start", steps=2500, rate=1e-3)
    config.batch = 32
    return config

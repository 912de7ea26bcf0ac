"""AudioMAE of the embedded model.

audioldm2-jax train --config=configs/nano/audiomae.py --workdir=nano/runs/audiomae
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = stage_config("audiomae", decoder_width=128, decoder_depth=4, decoder_heads=4)
    config.optim.beta2 = 0.95
    return nano(config, "start", steps=2500, rate=1e-3)

"""CLAP of the embedded model, both towers.

audioldm2-jax train --config=configs/nano/clap.py --workdir=nano/runs/clap
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = nano(stage_config("clap"), "start", steps=1500, rate=5e-4)
    config.batch = 64
    return config

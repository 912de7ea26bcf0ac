"""The classifier that the embedded model is judged by; no generator ever sees it.

audioldm2-jax train --config=configs/nano/tagger.py --workdir=nano/runs/tagger
"""

from configs.common import base, variant
from configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("tagger", channels=(16, 32, 64, 128), width=128, mixup=False, drop=False)
    config.optim.weight_decay = 0.0
    return nano(config, "", steps=2500, rate=1e-3)

"""GPT-2 of the embedded model, from CLAP and T5 to the LOA; T5 learns along.

audioldm2-jax train --config=configs/nano/sequence.py --workdir=nano/runs/sequence
"""

from configs.common import base, variant
from configs.nano.common import nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("sequence", pooling=4, error="l1", free=0.5, audio=0.0, text=True)
    config = nano(config, "vocoder", steps=3000, rate=5e-4)
    config.data.sources += "-encoded"
    config.validation.sources += "-encoded"
    return config

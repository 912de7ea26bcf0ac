"""The classifier that the embedded model is judged by; no generator ever sees it.

audioldm2-jax train --config=configs/nano/panns.py --workdir=nano/runs/panns
`words` listens to speech: which of thirty phrases are said.
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano, speech


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "words"))
    # Neither mixed nor dropped: they are for large networks that see their clips many times.
    config = stage_config(
        "panns", channels=(16, 32, 64, 128), width=128, mixup=False, dropout=False
    )
    config.optim.weight_decay = 0.0
    config = nano(config, "", steps=2500, rate=1e-3)
    if kind == "words":
        config = speech(config, "", steps=300)
    return config

"""GPT-2 of the embedded model, from CLAP and T5 to the LOA; T5 learns along.

audioldm2-jax train --config=configs/nano/loa.py --workdir=nano/runs/loa
`speech` reads phonemes, and its LOA is not pooled: 128 vectors, of which some are hidden, or GPT-2
continues the vectors before and does not learn which phoneme is due.
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano, precomputed, speech


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "speech"))
    config = stage_config("loa", pooling=4, rollout_weight=0.5, train_t5=True)
    config = nano(config, "vocoder", steps=3000, rate=5e-4)
    if kind == "speech":
        config = speech(config, "speech-start", steps=1800)
        config.settings.pooling, config.settings.train_t5 = 1, False
        config.settings.rollout_weight, config.settings.prefix_dropout = 0.0, 1.0
    return precomputed(config)

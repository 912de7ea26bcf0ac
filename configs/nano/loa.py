"""GPT-2 of the embedded model, from CLAP and T5 to the LOA; T5 learns along.

audioldm2-jax train --config=configs/nano/sequence.py --workdir=nano/runs/sequence
`speech` reads phonemes, and its LOA is not pooled: 128 vectors, of which some are hidden, or GPT-2
continues the vectors before and does not learn which phoneme is due.
"""

from audioldm2_jax.configs.common import base, variant
from audioldm2_jax.configs.nano.common import encoded, nano, speech


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "speech"))
    config = base("sequence", pooling=4, error="l1", free=0.5, audio=0.0, text=True)
    config = nano(config, "vocoder", steps=3000, rate=5e-4)
    if kind == "speech":
        config = speech(config, "speech-start", steps=1800)
        config.settings.pooling, config.settings.free, config.settings.text = 1, 0.0, False
        config.settings.hide = 1.0
    return encoded(config)

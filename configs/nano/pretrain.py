"""The U-Net of the embedded model, on the LOA of the clips themselves.

audioldm2-jax train --config=configs/nano/pretrain.py --workdir=nano/runs/pretrain
`speech` is the narrower U-Net of speech, on the whole LOA.
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import nano, precomputed, speech


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "speech"))
    config = stage_config("pretrain", poolings=(4,))
    config = nano(config, "loa", steps=3000, rate=5e-4)
    config.optim.steps = 5000  # joint training takes over before the rate has fallen
    config.latent_scale = "batch"
    if kind == "speech":
        config = speech(config, "speech-loa", steps=5000)
        config.settings.poolings, config.latent_scale = (1,), "model"
    return precomputed(config)

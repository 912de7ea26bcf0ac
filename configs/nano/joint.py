"""U-Net, GPT-2 and T5 of the embedded model together, by the probability switcher.

audioldm2-jax train --config=configs/nano/joint.py --workdir=nano/runs/joint
`truth` is the share of clips that see the true LOA; `truth75` is the other published account.
"""

from configs.common import base, variant
from configs.nano.common import nano


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "truth75"))
    config = base("joint", drop=0.1, poolings=(4,), truth=0.25, audio=0.0, text=True)
    config = nano(config, "pretrain", steps=4000, rate=3e-4)
    config.begin = True
    config.settings.truth = 0.75 if kind == "truth75" else 0.25
    config.data.sources, config.validation.sources = (
        f"{name}-encoded" for name in (config.data.sources, config.validation.sources)
    )
    return config

"""AudioLDM 2, section III-D: U-Net and GPT-2 together, by the probability switcher.

audioldm2-jax train --config=configs/audioldm2/joint.py:full --workdir=runs/joint \\
    --config.start=CHECKPOINT --config.data.sources=CORPUS[:SPLIT[:WEIGHT]],...
Variants as published: ac, ac-large (AudioCaps), full, full-large (AudioCaps, AudioSet, WavCaps,
VGGSound, MSD), msd (music). Authors: 8 A100, learning rate 1e-4, warm-up 10 000.
"""

from configs.common import base, tiny, variant


def get_config(arg: str = ""):
    config = base("joint", drop=0.1, poolings=(8,), truth=0.25)
    config.optim.warmup = 10_000
    config.steps = 800_000
    kind = variant(arg, ("full", "full-large", "ac", "ac-large", "msd", "tiny"))
    config.preset = "large" if kind.endswith("large") else "base"
    if kind == "tiny":
        config = tiny(config)
        config.start, config.settings.poolings = "random", (4,)
    return config

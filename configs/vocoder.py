"""HiFi-GAN (arXiv 2010.05646), 16 or 48 kHz.

audioldm2-jax train --config=configs/vocoder.py --workdir=runs/vocoder --config.data.sources=CORPUS
The authors' configuration: segments of 8192 samples, batch 16 (48 kHz: 15360, 128).
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("vocoder")
    config.optim.learning_rate = 2e-4
    config.optim.beta1, config.optim.beta2 = 0.8, 0.99
    config.optim.schedule, config.optim.decay = "exponential", 0.999
    config.optim.clip, config.optim.warmup = 0.0, 0
    config.batch, config.steps, config.dtype = 16, 1_000_000, "fp32"
    kind = variant(arg, ("16k", "48k", "tiny"))
    if kind == "48k":
        config.preset, config.settings.segment, config.batch = "audioldm-48k", 15360, 128
        config.optim.learning_rate = 1e-4
    if kind == "tiny":
        config = tiny(config)
        config.settings.segment, config.settings.small_discriminators = 2048, True
    return config

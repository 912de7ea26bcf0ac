"""The mel VAE with PatchGAN (AudioLDM, section 3.2), 16 or 48 kHz.

audioldm2-jax train --config=configs/vae.py --workdir=runs/vae --config.data.sources=CORPUS
The authors' configuration: batch 4, 800 thousand steps, learning rate 8e-6, LPIPS with weight 1:
settings.perceptual_weight=1 settings.perceptual_files=VGG16.safetensors,LPIPS.pth
(docs/training.md).
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("vae")
    config.optim.learning_rate = 8e-6
    config.optim.beta1, config.optim.beta2 = 0.5, 0.9
    config.optim.weight_decay, config.optim.clip, config.optim.warmup = 0.0, 0.0, 0
    config.batch, config.steps, config.dtype = 4, 800_000, "fp32"
    kind = variant(arg, ("16k", "48k", "tiny"))
    if kind == "48k":
        config.preset = "audioldm-48k"
    if kind == "tiny":
        config = tiny(config)
        config.settings.discriminator_start, config.settings.discriminator_width = 10, 8
    return config

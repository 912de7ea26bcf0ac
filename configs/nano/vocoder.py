"""HiFi-GAN of the embedded models, of sound and of speech.

audioldm2-jax train --config=configs/nano/vocoder.py --workdir=nano/runs/vocoder
By its spectra alone: with discriminators a step takes three times as long, and a CPU has few to
give. `vocoding` mends the phases of what it makes.
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import FOLDER, nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = stage_config("vocoder", segment=4096, stft_weight=15.0, adversarial_weight=0.0)
    config = nano(config, "vae", steps=12_000, rate=1e-3)
    config.optim.beta1, config.optim.beta2, config.optim.clip = 0.8, 0.99, 0.0
    config.data.sources = f"{FOLDER}/corpus:train:0.85,{FOLDER}/speech:train:0.15"
    config.batch = 8
    return config

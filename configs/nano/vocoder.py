"""HiFi-GAN of the embedded models, of sound and of speech.

audioldm2-jax train --config=configs/nano/vocoder.py --workdir=nano/runs/vocoder
"""

from configs.common import base, variant
from configs.nano.common import FOLDER, nano


def get_config(arg: str = ""):
    variant(arg, ("nano",))
    config = base("vocoder", segment=8192, mel=45.0, small=True)
    config.optim.beta1, config.optim.beta2, config.optim.clip = 0.8, 0.99, 0.0
    config = nano(config, "start", steps=7000, rate=5e-4)
    config.data.sources = f"{FOLDER}/corpus:train:0.85,{FOLDER}/speech:train:0.15"
    config.batch = 8
    return config

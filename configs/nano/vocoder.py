"""HiFi-GAN of the embedded models, of sound and of speech.

audioldm2-jax train --config=configs/nano/vocoder.py:spectra --workdir=nano/runs/vocoder-spectra
audioldm2-jax train --config=configs/nano/vocoder.py --workdir=nano/runs/vocoder
First `spectra`, by its spectra alone: steps take a third of the time, and a CPU has few to give.
Then with the discriminators.
"""

from configs.common import base, variant
from configs.nano.common import FOLDER, nano


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "spectra"))
    config = base("vocoder", segment=8192, mel=45.0, spectra=15.0, adversarial=1.0, small=True)
    config.optim.beta1, config.optim.beta2, config.optim.clip = 0.8, 0.99, 0.0
    if kind == "spectra":
        config = nano(config, "vae", steps=12_000, rate=1e-3)
        config.settings.segment, config.settings.adversarial = 4096, 0.0
    else:
        config = nano(config, "vocoder-spectra", steps=4000, rate=2e-4)
        config.begin = True
    config.data.sources = f"{FOLDER}/corpus:train:0.85,{FOLDER}/speech:train:0.15"
    config.batch = 8
    return config

"""CLAP: sound and captions, both towers (arXiv 2211.06687).

audioldm2-jax train --config=configs/clap.py --workdir=runs/clap --config.start=CHECKPOINT \\
    --config.data.sources=CORPUS
The start gives the tokenizer and, with begin, the weights. LAION: batch 2304, 45 epochs.
"""

from audioldm2_jax.configs.common import base, tiny, variant


def get_config(arg: str = ""):
    config = base("clap")
    config.data.seconds = 10.0
    config.data.text_length = 77
    config.batch = 512
    if variant(arg, ("base", "tiny")) == "tiny":
        config = tiny(config)
        config.start = "random"
    return config

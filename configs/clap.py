"""CLAP: sound and captions, both towers (arXiv 2211.06687).

audioldm2-jax train --config=configs/clap.py --workdir=runs/clap \\
    --config.base_checkpoint=CHECKPOINT --config.data.sources=CORPUS
The base checkpoint gives the tokenizer and, with init_from_base, the weights. LAION: batch 2304, 45
epochs.
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("clap")
    config.data.seconds = 10.0
    config.data.text_length = 77
    config.batch = 512
    if variant(arg, ("base", "tiny")) == "tiny":
        config = tiny(config)
        config.base_checkpoint = "random"
    return config

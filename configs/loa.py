"""AudioLDM 2, section III-B: GPT-2 from CLAP and T5 (speech: phonemes) to the LOA.

audioldm2-jax train --config=configs/loa.py --workdir=runs/loa \\
    --config.base_checkpoint=CHECKPOINT --config.data.sources=CORPUS
The base checkpoint holds CLAP, T5 and AudioMAE. `speech` predicts 512 vectors from phonemes, with
CLAP on the sound itself.
"""

from audioldm2_jax.configs.common import stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("loa")
    config.optim.learning_rate = 2e-4
    config.optim.schedule, config.optim.decay, config.optim.decay_every = "exponential", 0.8, 10_000
    kind = variant(arg, ("sound", "speech", "tiny", "tiny-speech"))
    if kind.startswith("tiny"):
        config = tiny(config)
        config.base_checkpoint, config.settings.pooling = "random", 4
    if kind.endswith("speech"):
        config.preset = "tiny-speech" if kind == "tiny-speech" else "speech"
        config.settings.pooling, config.settings.p_clap_audio = 1, 1.0
    return config

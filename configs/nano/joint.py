"""U-Net, GPT-2 and T5 of the embedded model together, by the probability switcher.

audioldm2-jax train --config=configs/nano/joint.py --workdir=nano/runs/joint
`notes` goes on with more clips whose captions name a note, and `more` with the same, from a high
rate down again; `speech` trains the phoneme encoder in place of T5.
"""

from audioldm2_jax.configs.common import stage_config, variant
from audioldm2_jax.configs.nano.common import FOLDER, nano, precomputed, speech

# Of each variant the stage before, the steps, the highest rate.
BEFORE = {
    "nano": ("pretrain", 6300, 3e-4),
    "notes": ("joint", 2800, 1.5e-4),
    "more": ("joint-notes", 2000, 2e-4),
    "speech": ("speech-pretrain", 750, 3e-4),
}


def get_config(arg: str = ""):
    kind = variant(arg, tuple(BEFORE))
    config = stage_config("joint", pooling=4, train_t5=True)
    config = nano(config, *BEFORE[kind])
    config.init_from_base, config.settings.snr_gamma = True, 1.0
    if kind in ("notes", "more"):
        config.data.sources += f",{FOLDER}/notes"
    if kind == "more":
        config.seed = 1  # not the same clips with the same noise again
    if kind == "speech":
        config = speech(config, *BEFORE[kind][:2])
        config.settings.pooling, config.settings.train_t5 = 1, False
        config.settings.backprop_through_rollout = False  # 128 vectors
    return precomputed(config)

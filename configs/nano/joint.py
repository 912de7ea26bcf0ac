"""U-Net, GPT-2 and T5 of the embedded model together, by the probability switcher.

audioldm2-jax train --config=configs/nano/joint.py --workdir=nano/runs/joint
`truth` is the share of clips that see the true LOA; `notes` goes on with more clips whose captions
name a note; `speech` trains the phoneme encoder in place of T5.
"""

from configs.common import base, variant
from configs.nano.common import FOLDER, encoded, nano, speech


def get_config(arg: str = ""):
    kind = variant(arg, ("nano", "notes", "speech"))
    config = base("joint", drop=0.1, poolings=(4,), truth=0.25, audio=0.0, text=True)
    before = ("joint", 2800, 1.5e-4) if kind == "notes" else ("pretrain", 6300, 3e-4)
    config = nano(config, *before)
    config.begin, config.settings.snr_gamma = True, 1.0
    if kind == "notes":
        config.data.sources += f",{FOLDER}/notes"
    if kind == "speech":
        config = speech(config, "speech-pretrain", steps=750)
        config.settings.poolings, config.settings.text = (1,), False
        config.settings.through = False  # 128 vectors
    return encoded(config)

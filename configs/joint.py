"""AudioLDM 2, section III-D: U-Net and GPT-2 together, by the probability switcher.

audioldm2-jax train --config=configs/joint.py:full --workdir=runs/joint \\
    --config.base_checkpoint=CHECKPOINT --config.data.sources=CORPUS[:SPLIT[:WEIGHT]],...
Variants as published: ac, ac-large (AudioCaps), full, full-large (AudioCaps, AudioSet, WavCaps,
VGGSound, MSD), msd (music); of speech ljs (LJSpeech) and gig (GigaSpeech): phonemes, 512 vectors,
CLAP on the sound itself, for these corpora have no captions. LJS-Pretrained is ljs with the result
of gig as its base checkpoint. `few` fine-tunes a checkpoint on ten to some hundred clips.
Authors: 8 A100, learning rate 1e-4, warm-up 10 000.
"""

from audioldm2_jax.configs.common import few, stage_config, tiny, variant


def get_config(arg: str = ""):
    config = stage_config("joint")
    config.optim.warmup = 10_000
    config.steps = 800_000
    kinds = (
        "full",
        "full-large",
        "ac",
        "ac-large",
        "msd",
        "ljs",
        "gig",
        "few",
        "tiny",
        "tiny-speech",
    )
    kind = variant(arg, kinds)
    config.preset = "large" if kind.endswith("large") else "base"
    if kind == "few":
        config = few(config)
    if kind.startswith("tiny"):
        config = tiny(config)
        config.base_checkpoint, config.settings.pooling = "random", 4
    if kind in ("ljs", "gig", "tiny-speech"):
        config.preset = "tiny-speech" if kind == "tiny-speech" else "speech"
        config.settings.pooling, config.settings.p_clap_audio = 1, 1.0
    return config

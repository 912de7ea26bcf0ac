"""AudioLDM: latent diffusion on CLAP's vector of the sound, the caption, or a mix.

audioldm2-jax train --config=configs/audioldm.py:s --workdir=runs/audioldm \\
    --config.base_checkpoint=CHECKPOINT --config.data.sources=CORPUS
settings.p_clap_audio is the share of clips conditioned on the sound: 1 as AudioLDM was trained, 0
for captions only. init_from_base=False trains from scratch; the study has both. `t5` attends to
FLAN-T5 instead. `few` fine-tunes a checkpoint on ten to some hundred clips; lora=16: with LoRA of
rank 16.
"""

from audioldm2_jax.configs.common import few, stage_config, tiny, variant


def get_config(arg: str = ""):
    kind = variant(arg, ("s", "m", "l", "48k", "t5", "few", "tiny"))
    config = stage_config("audioldm", p_clap_audio=0.0 if kind in ("t5", "few") else 1.0)
    config.optim.warmup = 2000
    config.steps = 800_000
    config.preset = f"audioldm-{'m' if kind == 'few' else kind}"
    if kind == "few":
        config = few(config)
    if kind == "tiny":
        config = tiny(config)
        config.preset, config.base_checkpoint = "tiny-audioldm", "random"
    return config

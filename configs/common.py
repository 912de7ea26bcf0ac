"""What every run has. A run is `get_config(arg)` of a file here; any value can be overridden:

audioldm2-jax train --config=configs/vae.py --workdir=runs/vae --config.data.sources=corpora/mine
"""

from ml_collections import ConfigDict

PROMPTS = (
    "a dog barks in the rain",
    "a calm piano melody with soft strings",
    "people talk while an engine idles",
    "birds sing and water flows",
)

SENTENCES = (
    "the birch canoe slid on the smooth planks",
    "glue the sheet to the dark blue background",
)


def base(stage: str, **settings) -> ConfigDict:
    """Common values. settings: the stage's own, see audioldm2_jax/training/stages."""
    config = ConfigDict()
    config.stage = stage
    # A checkpoint (hub-layout folder or hub id) whose frozen parts, tokenizers and, with `begin`,
    # weights are used; "random" is an untrained one of the preset, "" the preset alone.
    config.start = ""
    config.begin = True
    config.preset = "base"
    config.lora = 0  # rank of low-rank changes that train in place of the weights
    config.settings = ConfigDict(settings)
    config.optim = ConfigDict(
        {
            "learning_rate": 1e-4,
            "warmup": 1000,
            "schedule": "constant",
            "steps": 100_000,
            "decay": 1.0,
            "decay_every": 1000,
            "beta1": 0.9,
            "beta2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.01,
            "clip": 1.0,
        }
    )
    config.data = ConfigDict(
        {
            "sources": "",  # path[:split[:weight]], separated by commas
            "seconds": 10.24,
            "text_length": 128,
            "tolerance": 0.01,
            "workers": 0,
        }
    )
    # Means of the metrics over `batches` batches of clips that are not trained on.
    config.validation = ConfigDict({"sources": "", "every": 1000, "batches": 8})
    # Sound and mel pictures in TensorBoard; of the VAE and the vocoder, of as many clips.
    config.sample = ConfigDict({"every": 5000, "prompts": PROMPTS, "steps": 25})
    config.fixed = ()  # patterns of parameters' paths that do not train
    config.wandb = ""  # a project's name; needs `pip install wandb`
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "context": 1, "tensor": 1})
    config.batch = 64
    config.accumulate = 1
    config.remat = "none"  # or products, blocks: less memory for the gradients, more work
    config.steps = 100_000
    config.seed = 0
    config.dtype = "bf16"
    config.ema_decay = 0.9999
    config.latent_scale = "model"  # or "batch": from the first batch, for a VAE of one's own
    config.log_every = 50
    config.save_every = 1000
    config.keep = 3
    config.keep_every = 0  # steps whose states stay for good
    config.max_skipped = 10
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """The same stage at a size that takes a step in a moment on a CPU, to try things out."""
    config.preset = "tiny"
    config.data.seconds = 1.28
    config.data.text_length = 32
    config.batch = 8
    config.steps = 20
    config.dtype = "fp32"
    config.optim.warmup = 5
    config.optim.learning_rate = 1e-3
    config.log_every = 5
    config.save_every = 20
    config.validation.every, config.validation.batches = 10, 2
    config.sample.every, config.sample.prompts, config.sample.steps = 0, PROMPTS[:2], 4
    return config


def variant(arg: str, known: tuple[str, ...]) -> str:
    """The argument behind the file's colon, the first known one by default."""
    if arg and arg not in known:
        raise ValueError(f"{arg!r}: choose one of {' '.join(known)}")
    return arg or known[0]

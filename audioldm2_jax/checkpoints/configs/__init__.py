"""Hub configuration files to our configurations and back, a pair of functions for each part.

Readers obey what a file says, fill what it leaves out by the reference classes' defaults, and
refuse by name what no code here computes.
"""

from audioldm2_jax.checkpoints.configs.audio import (  # noqa: F401
    read_vae,
    read_vocoder,
    write_vae,
    write_vocoder,
)
from audioldm2_jax.checkpoints.configs.audiomae import read_audiomae, write_audiomae  # noqa: F401
from audioldm2_jax.checkpoints.configs.clap import (  # noqa: F401
    join_towers,
    read_clap,
    write_clap,
    write_mel,
    write_towers,
)
from audioldm2_jax.checkpoints.configs.language import (  # noqa: F401
    read_gpt2,
    read_phonemes,
    read_projection,
    read_t5,
    write_gpt2,
    write_phonemes,
    write_projection,
    write_t5,
)
from audioldm2_jax.checkpoints.configs.panns import (  # noqa: F401
    ARCHITECTURE,
    panns_of_shapes,
    read_panns,
    write_panns,
)
from audioldm2_jax.checkpoints.configs.scheduler import (  # noqa: F401
    read_schedule,
    scheduler_class,
    write_schedule,
)
from audioldm2_jax.checkpoints.configs.unet import (  # noqa: F401
    read_unet,
    write_plain_unet,
    write_unet,
)

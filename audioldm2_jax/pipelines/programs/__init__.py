"""From token ids to waveforms as pure functions: what each family feeds its U-Net, and the rest."""

from __future__ import annotations

from typing import Any

from audioldm2_jax.pipelines.programs import audioldm, audioldm2, audioldm_t5
from audioldm2_jax.pipelines.programs.shared import Program
from audioldm2_jax.presets import ModelConfig

# What a family's U-Net is conditioned by.
CONDITIONINGS = {
    "audioldm2": audioldm2.encode_texts,
    "audioldm": audioldm.encode_texts,
    "musicldm": audioldm.encode_texts,
    "audioldm_t5": audioldm_t5.encode_texts,
    "tango": audioldm_t5.encode_texts,
}


def program_of(config: ModelConfig, dtype: Any) -> Program:
    """The program of a checkpoint."""
    return Program(config, dtype, CONDITIONINGS[config.family])

"""The table of stages. A new stage is one file here and one line in the table."""

from __future__ import annotations

from audioldm2_jax.errors import InputError
from audioldm2_jax.training.spec import StageInfo
from audioldm2_jax.training.stages import (
    audioldm,
    audiomae,
    clap,
    joint,
    loa,
    panns,
    pretrain,
    vae,
    vocoder,
)

STAGES: dict[str, StageInfo] = {
    "panns": panns.STAGE,
    "audiomae": audiomae.STAGE,
    "clap": clap.STAGE,
    "vae": vae.STAGE,
    "vocoder": vocoder.STAGE,
    "loa": loa.STAGE,
    "pretrain": pretrain.STAGE,
    "joint": joint.STAGE,
    "audioldm": audioldm.STAGE,
}


def find_stage(name: str) -> StageInfo:
    """The stage of that name. Raises InputError for an unknown one."""
    if name not in STAGES:
        raise InputError(f"stage {name!r}: choose one of {' '.join(STAGES)}")
    return STAGES[name]

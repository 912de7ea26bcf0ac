"""diffusers' AudioLDM 2 pipeline of our configuration, with random weights on the device."""

from __future__ import annotations

import warnings

import diffusers
import torch
import transformers
from diffusers import AudioLDM2Pipeline, DPMSolverMultistepScheduler

from audioldm2_jax.checkpoints.parts import PARTS, parts_of
from audioldm2_jax.checkpoints.scheduler import write_schedule
from audioldm2_jax.presets import ModelConfig

KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def random_pipeline(config: ModelConfig, tokenizers: dict, dtype: str) -> AudioLDM2Pipeline:
    """The pipeline on the GPU, or on the CPU; tokenizers: by folder. dtype: fp32 or bf16."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    modules = {}
    with warnings.catch_warnings(), torch.device(device):
        warnings.simplefilter("ignore")
        for name in parts_of(config):
            if PARTS[name].in_index:
                modules |= _modules(PARTS[name], getattr(config, name))
    schedule = write_schedule(config.schedule)
    pipe = AudioLDM2Pipeline(
        scheduler=DPMSolverMultistepScheduler.from_config(schedule), **tokenizers, **modules
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device, KINDS[dtype])


def _modules(part, config) -> dict:
    """{folder: module} of a part, and of what comes with it."""
    written = part.write(config)
    kind, content = written.kind, written.content
    if part.classes[kind] == "transformers":
        network = getattr(transformers, kind)
        module = network(network.config_class.from_dict(content)).eval()
    else:
        module = getattr(diffusers, kind).from_config(content).eval()
    modules = {part.folder: module}
    for path, entries in written.beside.items():
        folder = path.split("/")[0]
        if folder in part.components:
            modules[folder] = getattr(transformers, part.components[folder][1])(**entries)
    return modules

"""TANGO's published folders (arXiv 2304.13731, 2404.09956), such as declare-lab/tango and tango2.

Such a folder is no hub layout: main_config.json names a text encoder, a U-Net configuration and a
scheduler that lie elsewhere, `pytorch_model_main.bin` holds the U-Net and the text encoder, and
`pytorch_model_vae.bin` AudioLDM's VAE and vocoder. Reference: the repository declare-lab/tango.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

import jax.numpy as jnp

from audioldm2_jax.checkpoints import weights
from audioldm2_jax.checkpoints.config_entries import Entries, require
from audioldm2_jax.checkpoints.convert import LINEAR, Table, cast_to, to_params
from audioldm2_jax.checkpoints.hub import Checkpoint
from audioldm2_jax.checkpoints.index import read_json
from audioldm2_jax.checkpoints.parts import PARTS, t5, unet_tables, vae, vocoder
from audioldm2_jax.checkpoints.tokenizers import tokenizers_for
from audioldm2_jax.checkpoints.weights import Weights
from audioldm2_jax.errors import InputError
from audioldm2_jax.presets import (
    CONVENTIONS,
    ModelConfig,
    ScheduleConfig,
    T5Config,
    UNetConfig,
    VAEConfig,
)
from audioldm2_jax.presets.models import TANGO_SCHEDULE, TANGO_UNET, tango

MAIN, AUTOENCODER = "main_config.json", "vae_config.json"
# {name in main_config.json: what it means}. The U-Net's file is in the authors' repository.
TEXT_ENCODERS: dict[str, T5Config] = {"google/flan-t5-large": T5Config()}
UNETS: dict[str, UNetConfig] = {"diffusion_model_config.json": TANGO_UNET}
SCHEDULES: dict[str, ScheduleConfig] = {"stabilityai/stable-diffusion-2-1": TANGO_SCHEDULE}
# {part: (its file, the prefix of its tensors there)}
_PLACES = {
    "t5": ("pytorch_model_main.bin", "text_encoder."),
    "unet": ("pytorch_model_main.bin", "unet."),
    "vae": ("pytorch_model_vae.bin", ""),
    "vocoder": ("pytorch_model_vae.bin", "vocoder."),
}
# The text encoder's own limit, to which the authors' code cuts texts.
_TOKENS = 512


def is_tango(folder) -> bool:
    """Whether a folder is laid out as TANGO's."""
    return (Path(folder) / MAIN).is_file()


def read_config(folder: Path) -> ModelConfig:
    """The model's configuration. Raises InputError for entries that name another model."""
    path = folder / MAIN
    main = Entries(read_json(path), str(path))
    if main.get("unet_model_name", None) is not None:
        main.refuse("unet_model_name", "null: a U-Net of Stable Diffusion has other latents")
    file = PurePosixPath(str(main.get("unet_model_config_path", None))).name
    return dataclasses.replace(
        tango(),
        t5=_known(TEXT_ENCODERS, main.get("text_encoder_name", None), main, "text_encoder_name"),
        unet=_known(UNETS, file, main, "unet_model_config_path"),
        vae=_read_vae(folder / AUTOENCODER),
        schedule=_known(SCHEDULES, main.get("scheduler_name", None), main, "scheduler_name"),
    )


def _known(table: dict, name, entries: Entries, entry: str) -> Any:
    if not isinstance(name, str) or name not in table:
        entries.refuse(entry, f"one of {' '.join(table)}")
    return table[name]


def _read_vae(path: Path) -> VAEConfig:
    """The authors' AutoencoderKL."""
    content = read_json(path)
    require(content, str(path), subband=1, time_shuffle=1)
    coder = content.get("ddconfig")
    if not isinstance(coder, dict):
        raise InputError(f"{path}: ddconfig is {coder!r:.80}; an object is needed")
    entries = Entries(coder, str(path))
    require(coder, str(path), attn_resolutions=[], downsample_time=False, double_z=True)
    width = entries.integer("ch", None)
    return dataclasses.replace(
        tango().vae,
        mel_channels=entries.integer("in_channels", 1, high=1024),
        latent_channels=entries.integer("z_channels", None, high=1024),
        channels=tuple(width * factor for factor in entries.integers("ch_mult")),
        layers=entries.integer("num_res_blocks", None, high=16),
        scale=Entries(content, str(path)).number("scale_factor", 1.0, 1e-6, 1e6),
    )


def table_of(name: str, config) -> Table:
    """The conversion between a part's tensors, behind its prefix, and our parameters."""
    if name == "unet":
        return unet_tables.table(config, LINEAR)
    authors = {"t5": t5.PART, "vae": vae.PART, "vocoder": vocoder.PART}[name].authors
    return authors.table(config)


def load_part(folder: Path, name: str, config, dtype=jnp.float32) -> dict:
    """One part's parameters. Raises InputError naming the file and the tensor."""
    file, prefix = _PLACES[name]
    path, where = folder / file, f"{folder / file}: {name}"
    if not path.is_file():
        raise InputError(f"{path}: missing; the checkpoint is incomplete")
    content = weights.read(path)
    names = {n: n.removeprefix(prefix) for n in content if n.startswith(prefix)}
    tensors = _own(name, content.renamed(names), where)
    like = PARTS[name].shapes(config, where)
    return to_params(tensors, table_of(name, config), like, put=cast_to(dtype), where=where)


def _own(name: str, tensors: Weights, where: str) -> Weights:
    """What the part's table reads of the tensors behind its prefix."""
    if not len(tensors):
        raise InputError(f"{where}: no tensor of it is in the file")
    gather = PARTS[name].authors.gather
    return tensors if name == "unet" or gather is None else gather({name: tensors}, where)


def load(
    folder: Path,
    *,
    tokenizers: str | None = None,
    dtype=jnp.float32,
    source: str | None = None,
    report=None,
    only: tuple[str, ...] | None = None,
    need_tokenizers: bool = True,
) -> Checkpoint:
    """A whole model, as `hub.load` gives it.

    Its tokenizer comes from the hub unless `tokenizers` names a folder. Arguments as of
    `authors.assemble.load`. Raises InputError.
    """
    config = read_config(folder)
    texts = tokenizers_for(config, tokenizers, required=need_tokenizers)
    for tokenizer in texts.values():
        tokenizer.model_max_length = _TOKENS
    params = {}
    for name in _PLACES if only is None else only:
        if report:
            report(name)
        params[name] = load_part(folder, name, getattr(config, name), dtype)
    return Checkpoint(config, params, texts, CONVENTIONS["authors"], str(source or folder))

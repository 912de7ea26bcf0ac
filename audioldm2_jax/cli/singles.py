"""Checkpoints of one network, such as a codec or CLAP: what `doctor` says of them."""

from __future__ import annotations

import math
from typing import Any

from audioldm2_jax.errors import InputError


def read_single(options) -> tuple[str, Any] | None:
    """(the part's name, its configuration) of `options.model`; None if that is a whole model.

    Of a hub id the small files are fetched. Raises InputError for a file that is damaged.
    """
    from audioldm2_jax import files
    from audioldm2_jax.checkpoints import download, registry, single
    from audioldm2_jax.presets import PRESETS

    known = {*PRESETS, *download.bundled(), *registry.PUBLISHED}
    if options.model in known or options.model in {*registry.OFFICIAL_NAMES}:
        return None
    path = files.user_path(options.model)
    if path.is_file():
        if not single.is_published_file(path):
            return None
        part = single.load(path)
        return part.name, part.config
    try:
        path = download.locate(
            options.model, revision=options.revision, quiet=True, configs_only=True
        )
    except InputError:  # `open_checkpoint` says it better
        return None
    if (path / "model_index.json").is_file() or single.kind_of(path) is None:
        return None
    return single.read_config(path, convention=options.convention)


def report(model: str, name: str, config, dtype) -> None:
    """Prints the network's size, and of a codec its rates."""
    import jax.numpy as jnp

    from audioldm2_jax import tree
    from audioldm2_jax.checkpoints.parts import PARTS

    kind, count = jnp.dtype(dtype), tree.count(PARTS[name].shapes(config))
    size = f"{count / 1e6:.2f} M parameters, {count * kind.itemsize / 1e9:.3f} GB in {kind.name}"
    print(f"model {model}: {name}, {size}")
    if PARTS[name].folder == "codec":
        rate = config.sample_rate / config.hop
        kbits = rate * config.levels * math.log2(config.codebook) / 1000
        channels = f"{config.channels} channel{'s' * (config.channels > 1)}"
        print(
            f"codec of {config.sample_rate} Hz, {channels}: {rate:g} frames a second of "
            f"{config.levels} levels of {config.codebook} codes, {kbits:.3g} kbit/s"
        )

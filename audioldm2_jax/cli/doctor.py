"""Report devices, memory, versions, the compilation cache, and what a model needs."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.generate import OFFICIAL_NAMES

_PACKAGES = ("jax", "jaxlib", "flax", "transformers", "huggingface_hub", "safetensors", "numpy")


def add_arguments(parser) -> None:
    parser.add_argument(
        "--model_name",
        default=None,
        help="also say what this checkpoint (folder, hub id or preset: base, large, music) needs",
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a hub id")
    parser.add_argument("--dtype", default=None, help="fp32 or bf16")
    parser.add_argument("--convention", default="authors", help="authors or diffusers")
    parser.add_argument("-dur", "--duration", type=float, default=None, help="seconds of a clip")
    add_device(parser)


def run(options) -> int:
    use_device(options.device)
    import jax

    from audioldm2_jax import __version__
    from audioldm2_jax.pipelines.run import available_memory, enable_cache

    print(f"audioldm2-jax {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("packages:", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    for device in jax.devices():
        print(f"device: {device.platform} {device.id}, {device.device_kind}")
    print(f"memory free: {available_memory() / 1e9:.1f} GB")
    cache = Path(enable_cache())
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) if cache.exists() else 0
    print(f"compilation cache: {cache}, {size / 1e6:.1f} MB")
    if options.model_name:
        _report_model(options)
    return 0


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _report_model(options):
    import jax.numpy as jnp

    from audioldm2_jax import tree
    from audioldm2_jax.checkpoints import download, hub
    from audioldm2_jax.checkpoints.parts import PARTS
    from audioldm2_jax.pipelines import request
    from audioldm2_jax.pipelines.run import available_memory
    from audioldm2_jax.pipelines.text_to_audio import choose_dtype
    from audioldm2_jax.presets import PRESETS

    name = OFFICIAL_NAMES.get(options.model_name, options.model_name)
    convention = hub.convention_named(options.convention)
    if name in PRESETS:
        config = PRESETS[name]()
    else:
        folder = download.locate(name, revision=options.revision)
        config = hub.read_config(folder, convention)
    grid = request.time_grid(options.duration, config, convention)
    dtype = choose_dtype(options.dtype)
    counts = {part: tree.count(PARTS[part].shapes(getattr(config, part))) for part in PARTS}
    total, width = sum(counts.values()), jnp.dtype(dtype).itemsize
    print(
        f"model {name}: {total / 1e6:.1f} M parameters, {total * width / 1e9:.2f} GB in "
        f"{jnp.dtype(dtype).name}"
    )
    for part, count in counts.items():
        print(f"  {part:10} {count / 1e6:8.2f} M")
    working = request.working_memory(grid.frames, config, width)
    needed = total * width + working
    verdict = "fits" if needed < available_memory() else "does NOT fit"
    print(
        f"a clip of {grid.seconds:g} s: about {working / 1e9:.2f} GB beside the weights, "
        f"{needed / 1e9:.2f} GB in all; {verdict} in the free memory"
    )

"""Report devices, memory, versions, the compilation cache, and what a model needs."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from audioldm2_jax.checkpoints import download
from audioldm2_jax.cli import music, singles
from audioldm2_jax.cli.device import add_device, add_memory, use_device
from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError

_PACKAGES = ("jax", "jaxlib", "flax", "transformers", "huggingface_hub", "safetensors", "numpy")


EXAMPLES = (
    Example("audioldm2-jax doctor --quick", "devices, memory and versions, in a moment"),
    Example(
        "audioldm2-jax doctor --model large -n 4 -dur 10",
        "whether four clips of ten seconds of AudioLDM 2 large fit into this device",
    ),
    Example("audioldm2-jax doctor --model descript/dac_16khz", "the rates and the size of a codec"),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    from audioldm2_jax.dtypes import DTYPES
    from audioldm2_jax.presets import CONVENTIONS, PRESETS
    from audioldm2_jax.presets.audiolm import AUDIOLM_PRESETS

    add = parser.add_argument
    model = (
        "say what this checkpoint needs: a folder, hub id, authors' file, official name, or a "
        f"preset ({', '.join((*PRESETS, *AUDIOLM_PRESETS))})"
    )
    add("--model", "--model_name", default="base", metavar="NAME", help=model)
    add("--quick", action="store_true", help="no model, so nothing to compile")
    add("--revision", default=None, metavar="REV", help="branch, tag or commit of a hub id")
    dtype = "of weights and activations; default bf16 on GPU and TPU, fp32 on CPU"
    add("--dtype", default=None, metavar=choices(DTYPES), help=dtype)
    reading = "how weights are read: as trained, or as diffusers does"
    add_memory(add)
    add("--convention", default="authors", metavar=choices(CONVENTIONS), help=reading)
    names = ("-dur", "--seconds", "--duration")
    seconds = "length of a clip; default as trained"
    add(*names, type=float, default=None, metavar="SECONDS", help=seconds)
    names = ("-n", "--candidates", "--n_candidate_gen_per_text")
    add(*names, type=int, default=1, metavar="N", help="clips at once")
    add_device(parser)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    use_device(options.device)
    import jax

    from audioldm2_jax.backend import enable_cache
    from audioldm2_jax.pipelines.runner import available_memory
    from audioldm2_jax.version import __version__

    print(f"audioldm2-jax {__version__}, Python {platform.python_version()}, {platform.platform()}")
    print("packages:", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    for device in jax.devices():
        print(f"device: {device.platform} {device.id}, {device.device_kind}")
    print(f"memory free: {available_memory() / 1e9:.1f} GB")
    cache = Path(enable_cache())
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) if cache.exists() else 0
    print(f"compilation cache: {cache}, {size / 1e6:.1f} MB")
    if options.quick:
        return 0
    from audioldm2_jax.dtypes import parse_dtype

    if part := singles.read_single(options):
        singles.report(options.model, *part, parse_dtype(options.dtype))
    else:
        _report_model(options)
    return 0


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _report_model(options):
    """Parameters of each part, and what a clip takes, from the compiled programs."""
    import jax.numpy as jnp

    from audioldm2_jax import tree
    from audioldm2_jax.dtypes import parse_dtype
    from audioldm2_jax.models.int8 import check_quantize
    from audioldm2_jax.pipelines import memory
    from audioldm2_jax.pipelines.runner import available_memory

    config, convention = _config(options)
    dtype = parse_dtype(options.dtype)
    check_quantize(options.quantize)
    counts = {n: tree.count(s) for n, s in memory.model_shapes(config, dtype).items()}
    total, width = sum(counts.values()), jnp.dtype(dtype).itemsize
    print(
        f"model {options.model}: {total / 1e6:.1f} M parameters, {total * width / 1e9:.2f} GB in "
        f"{jnp.dtype(dtype).name}"
    )
    for part, count in counts.items():
        print(f"  {part:10} {count / 1e6:8.2f} M")
    how = "as compiled for this device"
    if music.is_music(config):
        clips, estimate = music.demand(options, config, dtype)
    elif config.family == "audiolm":
        (clips, estimate), how = _audiolm_demand(options, config, dtype), "by an estimate"
    else:
        clips, estimate = _demand(options, config, convention, dtype)
    try:
        total, line = estimate()
    except InputError as error:
        print(f"{clips}: does NOT fit: {error}")
        return
    verdict = "fits" if total < available_memory() else "does NOT fit"
    print(f"{clips}, {how}: {verdict}")
    print(line)


def _demand(options, config, convention, dtype):
    """(the clips in words, a function that compiles for them: (bytes of all, a line on them))."""
    from audioldm2_jax.pipelines import memory
    from audioldm2_jax.pipelines.request import check_request

    request = check_request(
        config,
        convention,
        prompt="x",
        transcription="x" if config.phonemes else None,
        seconds=options.seconds,
        candidates=options.candidates,
        source=options.model,
    )
    arguments = {"quantize": options.quantize, "progress": True}

    def estimate():
        if options.low_memory:
            peaks = memory.estimate_in_turn(config, request, dtype, **arguments)
            return max(peaks.values()), memory.stages_line(peaks)
        weights, needed = memory.estimate(config, request, dtype, **arguments)
        return weights + needed, memory.memory_line(weights, needed)

    return music.clips_of(request.waveforms, request.duration.seconds), estimate


def _audiolm_demand(options, config, dtype):
    """The same of AudioLM, from formulas."""
    from audioldm2_jax import tree
    from audioldm2_jax.pipelines import memory
    from audioldm2_jax.pipelines.audiolm_memory import check_memory
    from audioldm2_jax.pipelines.audiolm_request import check_request

    for name in ("low_memory", "quantize"):
        if value := getattr(options, name):
            shown = "" if value is True else f" {value}"
            raise InputError(f"--{name}{shown}: AudioLM has no such mode; leave it out")
    seconds = config.sequences.piece if options.seconds is None else options.seconds
    count = options.candidates
    request = check_request(config, "generation", (), seconds=seconds, candidates=count)

    def estimate():
        weights = tree.nbytes(memory.model_shapes(config, dtype))
        needed = check_memory(config, request, dtype)
        return weights + needed, memory.memory_line(weights, needed)

    return music.clips_of(request.clips, seconds), estimate


def _config(options):
    """(configuration, convention) of a preset or a checkpoint."""
    from audioldm2_jax.checkpoints import hub
    from audioldm2_jax.pipelines.loading import open_checkpoint
    from audioldm2_jax.presets import PRESETS
    from audioldm2_jax.presets.audiolm import AUDIOLM_PRESETS

    if options.model in AUDIOLM_PRESETS:
        return AUDIOLM_PRESETS[options.model](), hub.convention_named(options.convention)
    if options.model in PRESETS and options.model not in download.bundled():
        return PRESETS[options.model](), hub.convention_named(options.convention)
    opened = open_checkpoint(
        options.model,
        options.dtype,
        options.convention,
        revision=options.revision,
        families=(*music.families(), "audiolm"),
    )
    return opened.config, opened.convention

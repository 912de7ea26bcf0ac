"""Turn any published checkpoint into a folder in the hub layout.

SRC is one of the authors' files (.pth, .ckpt, .pt), a folder in the hub layout, a hub id, or an
official name such as audioldm2-full. It may also hold one network, such as CLAP, HuBERT or a codec.
"""

from __future__ import annotations

import dataclasses
import sys

from audioldm2_jax.cli.help import Example, choices
from audioldm2_jax.errors import InputError, printable

EXAMPLES = (
    Example(
        "audioldm2-jax convert audioldm2-full.pth checkpoints/full",
        "the authors' file as a folder that this package and diffusers load",
    ),
    Example(
        "audioldm2-jax convert cvssp/audioldm2 checkpoints/half --dtype bf16",
        "a published checkpoint at half its size",
    ),
    Example(
        "audioldm2-jax convert last.ckpt checkpoints/vae --weights ema",
        "a part of a model, with the moving average of its weights",
    ),
    Example(
        "audioldm2-jax convert weights_44khz_8kbps_0.0.1.pth checkpoints/dac",
        "the authors' file of a codec as the folder that transformers loads",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        help="authors' file, hub-layout folder, transformers or timm folder",
    )
    add("target", metavar="DST", help="new folder; it appears whole or not at all")
    choice = "of the U-Net in an authors' file: raw, ema, or auto: what the authors' own command "
    choice += "samples with (AudioLDM the average, AudioLDM 2 raw)"
    add("--weights", default="auto", choices=("auto", "raw", "ema"), help=choice)
    tokenizers = "folder in the hub layout to take tokenizers from, where SRC has none; default: "
    tokenizers += "the hub's, and none while it cannot be reached"
    add("--tokenizers", default=None, metavar="DIR", help=tokenizers)
    from audioldm2_jax.presets import CONVENTIONS

    reading = "how a hub-layout SRC is read: authors (heads as trained) or diffusers"
    add("--convention", default="authors", metavar=choices(CONVENTIONS), help=reading)
    dtype = "of the written weights; bf16 is half the size"
    add("--dtype", default="fp32", choices=("fp32", "bf16"), help=dtype)
    add("--revision", default=None, metavar="REV", help="branch, tag or commit of a hub id")
    variant = "of a folder's weights, such as fp16 of model.fp16.safetensors; default: the plain "
    variant += "ones, or the only variant there is"
    add("--variant", default=None, metavar="NAME", help=variant)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    from audioldm2_jax import files
    from audioldm2_jax.checkpoints import download, hub, registry

    target = files.user_path(options.target)
    files.check_new(target)
    hub.convention_named(options.convention)
    _refuse_idle(options, files.user_path(options.source))
    place = {"revision": options.revision, "quiet": options.quiet}
    name = registry.resolve(options.source, **place)
    source = files.user_path(name)
    import jax

    # Nothing is computed, so parameters stay in the host's memory, exactly as stored.
    with jax.default_device(jax.devices("cpu")[0]):
        if source.is_file():
            _from_file(source, target, options)
        else:
            folder = download.locate(name, variant=options.variant, **place)
            _from_folder(folder, target, options)
    print(printable(str(target)))
    return 0


def _refuse_idle(options, source) -> None:
    """Raises InputError for an option that would have no effect."""
    from audioldm2_jax.checkpoints import registry, tango

    is_tango = tango.is_tango(source) or registry.PUBLISHED.get(options.source) == "tango"
    local = "is of a hub id; SRC lies here"
    if source.is_file() or is_tango:
        reading = "SRC has its authors' files, which are read as they do"
        idle = {"variant": "is of a hub-layout folder's weights; SRC is none"}
        idle |= {"convention": reading} if options.convention != "authors" else {}
        idle |= {"revision": local} if source.exists() else {}
        if is_tango and options.weights != "auto":
            idle["weights"] = "TANGO's files hold one set of weights"
    else:
        idle = {"tokenizers": "is for an authors' file; a folder has its own"}
        idle |= {"revision": local} if source.is_dir() else {}
        if options.weights != "auto":
            idle["weights"] = "folders hold one set of weights"
    for name, reason in idle.items():
        if (value := getattr(options, name)) is not None:
            raise InputError(f"--{name} {value}: {reason}")


def _from_file(path, target, options):
    from audioldm2_jax.checkpoints import single
    from audioldm2_jax.checkpoints.authors import assemble
    from audioldm2_jax.checkpoints.authors.source import open_file

    log = _logger(options)
    if single.is_published_file(path):
        for name in ("tokenizers", "weights"):
            if (value := getattr(options, name)) not in (None, "auto"):
                raise InputError(f"--{name} {value}: {path} is of one network that has none")
        single.save(_cast(single.load(path), options), target)
        return
    source = open_file(path, options.weights)
    log(f"{path} holds {' '.join(source.parts)}")
    if source.is_model:
        settings = {"tokenizers": options.tokenizers, "report": log, "need_tokenizers": False}
        _save_model(assemble.load(source, **settings), target, options)
    else:
        single.save(_cast(assemble.load_single(source, options.tokenizers), options), target)


def _from_folder(folder, target, options):
    from audioldm2_jax.checkpoints import hub, single, tango

    log = _logger(options)
    if tango.is_tango(folder):
        settings = {"tokenizers": options.tokenizers, "report": log, "need_tokenizers": False}
        _save_model(tango.load(folder, **settings), target, options)
        return
    reading = {"convention": options.convention, "variant": options.variant}
    if (folder / "model_index.json").is_file() or single.kind_of(folder) is None:
        checkpoint = hub.load(folder, report=log, **reading)
        _save_model(checkpoint, target, options)
    else:
        single.save(_cast(single.load(folder, **reading), options), target)


def _save_model(checkpoint, target, options):
    from audioldm2_jax import tree
    from audioldm2_jax.checkpoints import hub

    log, params = _logger(options), checkpoint.params
    total = sum(tree.count(part) for part in params.values())
    log(f"writing {target}: {total / 1e6:.1f} M parameters")
    hub.save(_cast(checkpoint, options), target)
    speech = " --transcription WORDS" if "phonemes" in params else ""
    request = (
        "continue FILE" if checkpoint.config.family == "audiolm" else f"generate -t TEXT{speech}"
    )
    log(f"next: audioldm2-jax {request} --model_name {target}")


def _cast(model, options):
    """The checkpoint or single part in the requested precision."""
    import jax
    import jax.numpy as jnp

    if options.dtype == "fp32":
        return model
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), model.params)
    return dataclasses.replace(model, params=params)


def _logger(options):
    """A function that writes progress to stderr; a part's name means that it is being read."""
    from audioldm2_jax.checkpoints.parts import PARTS

    def log(text):
        print(printable(f"reading {text}" if text in PARTS else text), file=sys.stderr)

    return (lambda text: None) if options.quiet else log

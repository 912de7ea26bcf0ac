"""Compile a training step or sampling for a TPU or GPU, without one, and print what it would need.

Prints JSON, and on stderr a table. Times are a lower bound: of each kernel whichever of memory,
products and links takes longest.
"""

from __future__ import annotations

import json
import os
import sys

from audioldm2_jax import extras
from audioldm2_jax.cli import configurations
from audioldm2_jax.cli.device import add_memory
from audioldm2_jax.cli.help import Example
from audioldm2_jax.errors import InputError

OVERRIDES = True
EXAMPLES = (
    Example(
        "audioldm2-jax rehearse --config=configs/pretrain.py --topology=v5e:4x4 --config.batch=64",
        "memory, time and communication of a step on 16 chips of TPU v5e",
    ),
    Example(
        "audioldm2-jax rehearse --config=configs/audioldm.py:m --topology=v5p:4x4x4 --encoded",
        "the same of AudioLDM on a corpus that `audioldm2-jax encode` made",
    ),
    Example(
        "audioldm2-jax rehearse --config=configs/pretrain.py --topology=h100:8 --encoded",
        "the same of eight NVIDIA H100; needs pip install 'audioldm2-jax[cuda]', but no GPU",
    ),
    Example(
        "audioldm2-jax rehearse --model_name audioldm2 --topology=h100 --seconds 10.24 -b 8",
        "eight clips of ten seconds sampled at once on one H100",
    ),
    Example(
        "audioldm2-jax rehearse --model_name audioldm2 --topology=h100 --low_memory "
        "--quantize int8",
        "what each stage of generating with these options takes",
    ),
    Example(
        "audioldm2-jax rehearse --model_name audioldm2 --topology=v6e:1x1 --part unet",
        "one guided step of the U-Net on one chip of TPU v6e",
    ),
)
_OF_SAMPLING = {"seconds": None, "steps": 25, "sampler": None, "batchsize": 1, "part": "generate"}
_OF_SAMPLING |= {"low_memory": False, "quantize": None}
notes = configurations.notes


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    add = parser.add_argument
    add("--config", default=None, metavar="FILE.py[:ARG]", help="configuration of a training run")
    model = (
        "rehearse sampling in place of training: a preset (base, large ...), a published model "
        "(audioldm2 is cvssp/audioldm2), or a folder; no weights are read"
    )
    add("--model", "--model_name", default=None, metavar="NAME", help=model)
    shape = (
        "kind of chip, and the pod's shape or the number of GPUs: v5e:4x4, v5p:4x4x4, v6e:16x16, "
        "h100, h200, h100:8; of sampling v5e:1x1, v6e:1x1, h100 or h200"
    )
    add("--topology", required=True, metavar="KIND[:SHAPE]", help=shape)
    add("--encoded", action="store_true", help="of a corpus that `encode` made: no frozen encoders")
    _add_sampling(add)
    text = "also write the compiled program's text, XLA's HLO"
    add("--hlo", default=None, metavar="FILE", help=text)
    add("-q", "--quiet", action="store_true", help="only the JSON: no progress and no table")


def _add_sampling(add) -> None:
    seconds = "of a sampled clip; default as trained"
    add("-dur", "--seconds", type=float, default=None, metavar="SECONDS", help=seconds)
    add("--steps", type=int, default=25, metavar="N", help="sampling steps")
    add("--sampler", default=None, metavar="NAME", help="default the model's own, mostly dpm++2m")
    add("-b", "--batchsize", type=int, default=1, metavar="N", help="clips sampled at once")
    part = (
        "of sampling: generate (all that runs, from tokens to sound), or one of its programs, "
        "condition (text encoders), sample (the sampler's loop) and render (decoder and vocoder), "
        "or unet (one guided step)"
    )
    add("--part", default="generate", metavar="PART", help=part)
    add_memory(add)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    if (options.config is None) == (options.model is None):
        raise InputError("give --config of a training run, or --model_name to rehearse sampling")
    # Before JAX is imported, by configurations too.
    os.environ["JAX_PLATFORMS"] = "cpu"
    report = _training(options) if options.config is not None else _sampling(options)
    if not options.quiet:
        from audioldm2_jax.rehearsal.report import table

        print(table(report), file=sys.stderr)
    print(json.dumps(report, indent=2))
    return 0


def _training(options) -> dict:
    extras.require("train")
    for name, default in _OF_SAMPLING.items():
        if getattr(options, name) != default:
            raise InputError(f"--{name}: is for sampling; --config takes --config.NAME=VALUE")
    from audioldm2_jax.training.configuration import read_config

    config = read_config(options.config, options.overrides)
    from audioldm2_jax.rehearsal.training import rehearse_training

    _announce(options, config.stage)
    return rehearse_training(
        config, options.topology, precomputed=options.encoded, dump=options.hlo
    )


def _sampling(options) -> dict:
    if options.encoded or options.overrides:
        unused = "--encoded" if options.encoded else options.overrides[0]
        raise InputError(f"{unused}: is for training; --model_name rehearses sampling")
    from audioldm2_jax.rehearsal.sampling import PARTS, rehearse_sampling

    if options.part not in PARTS:
        raise InputError(f"--part {options.part}: choose one of {' '.join(PARTS)}")
    _announce(options, f"{options.part} of {options.model}")
    return rehearse_sampling(
        options.model,
        options.topology,
        part=options.part,
        seconds=options.seconds,
        steps=options.steps,
        clips=options.batchsize,
        sampler=options.sampler,
        low_memory=options.low_memory,
        quantize=options.quantize,
        dump=options.hlo,
    )


def _announce(options, what: str) -> None:
    if not options.quiet:
        print(f"compiling {what} for {options.topology} ...", file=sys.stderr)

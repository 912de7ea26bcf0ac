"""Compile a training step for a TPU pod, without one, and print what it would need."""

from __future__ import annotations

import json
import os
import sys

from audioldm2_jax.cli import configurations
from audioldm2_jax.cli.help import Example

OVERRIDES = True
EXTRA = "train"
EXAMPLES = (
    Example(
        "audioldm2-jax rehearse --config=configs/pretrain.py --topology=v5e:4x4 --config.batch=64",
        "memory, time and communication of a step on 16 chips of TPU v5e",
    ),
    Example(
        "audioldm2-jax rehearse --config=configs/audioldm.py:m --topology=v5p:4x4x4 --encoded",
        "the same of AudioLDM on a corpus that `audioldm2-jax encode` made",
    ),
)
notes = configurations.notes


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:ARG]", help="configuration of the run")
    shape = "kind and shape of the pod, such as v5e:4x4, v5p:4x4x4 or v6e:16x16"
    add("--topology", required=True, metavar="KIND:SHAPE", help=shape)
    add("--encoded", action="store_true", help="of a corpus that `encode` made: no frozen encoders")
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    # Before JAX is imported, by configurations too.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from audioldm2_jax.training.configuration import read_config

    config = read_config(options.config, options.overrides)
    from audioldm2_jax.training.rehearse import rehearse

    if not options.quiet:
        print(f"compiling {config.stage} for {options.topology} ...", file=sys.stderr)
    print(json.dumps(rehearse(config, options.topology, precomputed=options.encoded), indent=2))
    return 0

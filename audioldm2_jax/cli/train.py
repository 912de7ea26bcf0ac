"""Train a stage of AudioLDM 2 or AudioLDM: one device, several, or several hosts.

A run is a file of configs/ with an argument; any of its values can be overridden behind it:
--config=configs/audioldm2/joint.py:full --config.optim.learning_rate=3e-5. It goes on from the last
state in --workdir.
"""

from __future__ import annotations

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.training.configuration import read_config

# Arguments that argparse does not know are values of the configuration.
OVERRIDES = True


def add_arguments(parser) -> None:
    add = parser.add_argument
    add("--config", required=True, metavar="FILE.py[:ARG]", help="configuration of the run")
    add("--workdir", required=True, metavar="DIR", help="states, metrics and TensorBoard's files")
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    config = read_config(options.config, options.overrides)
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    from audioldm2_jax.training.loop import train

    found = train(config, options.workdir, quiet=options.quiet)
    if distributed.is_main():
        for name, value in found.items():
            print(f"{name} {value:.6g}")
    return 0

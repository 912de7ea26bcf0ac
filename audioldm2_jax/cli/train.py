"""Train a stage of AudioLDM 2 or AudioLDM: one device, several, or several hosts.

A run is a configuration with an argument: a Python file, or the name of one that comes with the
package. Any of its values can be overridden behind it:
--config=joint:full --config.optim.learning_rate=3e-5. It goes on from the last state in
--workdir.
"""

from __future__ import annotations

from audioldm2_jax.cli import configurations
from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.cli.help import Example

# Arguments that argparse does not know are values of the configuration.
OVERRIDES = True
EXTRA = "train"
EXAMPLES = (
    Example(
        "audioldm2-jax train --config=vae:tiny --workdir=runs/try "
        "--config.data.sources=corpora/mine",
        "the VAE at a size that takes a step in a moment, to try a corpus out",
    ),
    Example(
        "audioldm2-jax train --config=audioldm:m --workdir=runs/mine "
        "--config.base_checkpoint=cvssp/audioldm-m-full --config.data.sources=corpora/mine "
        "--config.settings.p_clap_audio=0 --config.lora=16 --config.batch=8 --config.steps=2000",
        "LoRA fine-tuning of a published checkpoint on your own corpus",
    ),
)
notes = configurations.notes


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    add = parser.add_argument
    config = "configuration of the run: a name from below, or a file NAME.py"
    add("--config", required=True, metavar="NAME[:ARG]", help=config)
    add("--workdir", required=True, metavar="DIR", help="states, metrics and TensorBoard's files")
    add_device(parser)
    add("-q", "--quiet", action="store_true", help="no progress")


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    from audioldm2_jax.training.configuration import read_config

    config = read_config(options.config, options.overrides)
    from audioldm2_jax import distributed

    distributed.initialize()
    use_device(options.device)
    from audioldm2_jax.training.loop import train

    metrics = train(config, options.workdir, quiet=options.quiet)
    if distributed.is_main():
        for name, value in metrics.items():
            print(f"{name} {value:.6g}")
    return 0

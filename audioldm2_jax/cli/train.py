"""Train a stage of AudioLDM 2 or AudioLDM: one device, several, or several hosts.

A run is a file of configs/ with an argument; any of its values can be overridden behind it:
--config=configs/audioldm2/joint.py:full --config.optim.learning_rate=3e-5. It goes on from the last
state in --workdir.
"""

from __future__ import annotations

import sys
from pathlib import Path

from audioldm2_jax.cli.device import add_device, use_device
from audioldm2_jax.errors import InputError

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


def read_config(file: str, overrides: list[str]):
    """A locked ConfigDict. Raises InputError for a file or a value that is not there."""
    from absl import flags
    from ml_collections import config_flags

    path = Path(file.partition(":")[0])
    if not path.is_file():
        raise InputError(f"--config {path}: no such file")
    wrong = [text for text in overrides if not text.startswith("--config.")]
    if wrong:
        raise InputError(f"{wrong[0]}: values are given as --config.NAME=VALUE")
    # Configurations import each other as `configs.common`, from wherever they lie.
    root = next((p for p in path.resolve().parents if p.name == "configs"), path.resolve().parent)
    sys.path.insert(0, str(root.parent))
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values)
    try:
        values(["train", f"--config={file}", *overrides])
        return values.config
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"--config: {line}") from None
    finally:
        sys.path.remove(str(root.parent))

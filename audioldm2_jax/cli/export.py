"""Turn a training run's state into a checkpoint that generates sound."""

from __future__ import annotations

import sys

from audioldm2_jax.cli.help import Example

EXTRA = "train"
EXAMPLES = (
    Example(
        "audioldm2-jax export runs/joint checkpoints/joint",
        "a checkpoint for `audioldm2-jax generate --model checkpoints/joint`",
    ),
    Example(
        "audioldm2-jax export runs/vae checkpoints/mine --onto cvssp/audioldm2 --weights ema",
        "the trained part inside another checkpoint, with its moving average",
    ),
)


def add_arguments(parser) -> None:
    """Adds the command's options to its parser."""
    add = parser.add_argument
    add("workdir", metavar="RUN", help="the --workdir of `audioldm2-jax train`")
    add("target", metavar="DST", help="new folder; it appears whole or not at all")
    choice = "raw, ema (the moving average), or auto: the average where the stage keeps one"
    other = "checkpoint to put the trained parts into; default: the run's start"
    add("--onto", default="", metavar="CHECKPOINT", help=other)
    add("--step", type=int, metavar="N", help="state of that step; default: the last")
    add("--weights", default="auto", choices=("auto", "raw", "ema"), help=choice)


def run(options) -> int:
    """Runs the command; returns the exit code. Raises InputError."""
    import jax

    from audioldm2_jax.training.export import export

    with jax.default_device(jax.devices("cpu")[0]):
        step = export(
            options.workdir,
            options.target,
            weights=options.weights,
            onto=options.onto,
            step=options.step,
        )
    print(f"step {step}", file=sys.stderr)
    print(options.target)
    return 0

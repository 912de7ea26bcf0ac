"""The paper's ablations at the embedded model's scale: short joint runs that differ in one thing.

    python -m audioldm2_jax.recipes.nano.ablate [NAME ...]
    python benchmarks/nano.py --ablations

All begin with the pre-trained model below $NANO and take as many steps, fewer than the model that
is shipped. Where GPT-2 does without CLAP or T5, that projection's kernel is zero and stays so: what
is left of the text is its length. The U-Net reads T5 in all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp

from audioldm2_jax.checkpoints import hub
from audioldm2_jax.configs.nano.common import FOLDER
from audioldm2_jax.recipes.nano.build import run

STEPS, WARMUP = 350, 50
# Changed values of the joint stage, and the text that GPT-2 does not read.
RUNS = {
    "full": ((), ""),
    "separate": (("--config.settings.p_ground_truth=1.0",), ""),
    "truth75": (("--config.settings.p_ground_truth=0.75",), ""),
    "no-clap": ((), "clap"),
    "no-t5": ((), "text"),
}


def blind(model: Path, target: Path, text: str) -> None:
    """A copy of a model whose GPT-2 cannot read CLAP's vector ("clap") or T5's states ("text")."""
    checkpoint = hub.load(model)
    layer = checkpoint.params["projection"][text]
    layer["kernel"] = jnp.zeros_like(layer["kernel"])
    hub.save(checkpoint, target)


def ablate(name: str, folder: Path) -> Path:
    """The model of one run."""
    model, workdir = folder / "ablations" / name, folder / "runs" / f"ablation-{name}"
    if model.is_dir():
        return model
    values, text = RUNS[name]
    start = folder / "models" / "pretrain"
    if text:
        start, sighted = folder / "ablations" / f"{name}-start", start
        if not start.is_dir():
            blind(sighted, start, text)
        values += (f"--config.frozen_params=projection/{text}/kernel",)
    values += (f"--config.base_checkpoint={start}", f"--config.steps={STEPS}")
    values += (f"--config.optim.steps={STEPS}", f"--config.optim.warmup={WARMUP}")
    run("train", "--config=nano/joint.py", f"--workdir={workdir}", *values)
    run("export", workdir, model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME", help=str([*RUNS]))
    names = parser.parse_args().names
    if unknown := set(names) - set(RUNS):
        parser.error(f"{min(unknown)}: choose of {' '.join(RUNS)}")
    for name in names:
        print(ablate(name, Path(FOLDER)))


if __name__ == "__main__":
    main()

"""A run's trained parts as a checkpoint: a model for the pipeline, or one part alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from audioldm2_jax import files
from audioldm2_jax.checkpoints import hub, lora, single
from audioldm2_jax.data.build import CLASSES
from audioldm2_jax.errors import InputError
from audioldm2_jax.training.checkpoints import Checkpoints
from audioldm2_jax.training.low_rank import PART
from audioldm2_jax.training.run import Run, open_run
from audioldm2_jax.training.start import open_start
from audioldm2_jax.training.state import init_state, state_shardings


def export(workdir, target, *, weights: str = "auto", onto: str = "") -> int:
    """Writes target from the last state in workdir; returns its step.

    With a start, target is that model with the trained parts in place of its own (hub layout, loads
    in the pipeline and in diffusers); without, the one part alone (`single`); of low-rank changes,
    one safetensors file. weights: ema, raw, or auto, the average where there is one; onto: another
    checkpoint of the same configuration to take the other parts of, so that parts which were
    trained side by side come together. Raises InputError.
    """
    workdir = Path(workdir)
    path = workdir / "config.json"
    if not path.is_file():
        raise InputError(f"{workdir}: no config.json there; it is not the folder of a run")
    target = Path(target)
    config = ConfigDict(json.loads(path.read_text()))
    if config.lora and target.suffix != ".safetensors":
        raise InputError(f"{target}: low-rank changes are one file; name it FILE.safetensors")
    files.check_new(target)
    config.mesh = ConfigDict({"data": -1})
    config.batch = config.accumulate * jax.device_count()
    known = workdir / CLASSES
    run = open_run(config, classes=tuple(json.loads(known.read_text())) if known.is_file() else ())
    if onto:
        run = _onto(run, onto)
    step, trained = trained_parts(run, workdir, weights)
    if config.lora:
        target.parent.mkdir(parents=True, exist_ok=True)
        lora.save(trained[PART], target)
        return step
    if config.start and not run.plan.alone:
        path = workdir / "latent_scale.json"
        scale = json.loads(path.read_text()) if path.is_file() else None
        hub.save(run.whole(trained, scale), target)
        return step
    if len(trained) != 1:
        raise InputError(f"{workdir}: several parts without a start; name one with config.start")
    ((name, params),) = trained.items()
    settings = run.plan.alone or getattr(run.start.model, name)
    tokenizer = run.start.tokenizers.get("tokenizer") if name == "clap" else None
    single.save(single.Single(name, settings, params, tokenizer), target)
    return step


def _onto(run: Run, name: str) -> Run:
    """The run with another checkpoint for its start. Raises InputError where parts differ."""
    if run.config.lora or not run.config.start or run.plan.alone:
        raise InputError("--onto: what this run has trained is no part of a checkpoint")
    other = open_start(name, run.config.preset)
    for part in run.plan.exports:
        if getattr(other.model, part) != getattr(run.start.model, part):
            raise InputError(f"--onto {name}: its {part} is of another configuration")
    return dataclasses.replace(run, start=other)


def trained_parts(run: Run, workdir: Path, weights: str = "auto") -> tuple[int, dict]:
    """(step, parameters by part) of the last state. Raises InputError if there is none."""
    saved = Checkpoints(workdir / "checkpoints", every=1)
    if saved.latest is None:
        raise InputError(f"{workdir}: no state has been saved yet")
    stage = run.plan.stage
    if weights == "ema" and not stage.ema:
        raise InputError(f"--weights ema: stage {stage.name} keeps no average")
    shapes = jax.eval_shape(lambda key: init_state(stage, key), jax.random.key(0))
    state, _ = saved.restore(shapes, state_shardings(stage, run.mesh))
    saved.finish()
    chosen = state.params if weights == "raw" else state.params | state.ema
    return int(state.step), run.exported(chosen)
